"""Recipes: strict YAML in, a typed and checked `ResolvedRecipe` out, and the plan of what it will do. No torch."""

from copgkit.recipe.json_schema import json_schema
from copgkit.recipe.options import options_from_text
from copgkit.recipe.plan import Figure, Plan, make_plan
from copgkit.recipe.recorded import beta_of, recorded_values
from copgkit.recipe.resolve import Part, Parts, ResolvedRecipe, load_recipe
from copgkit.recipe.schema import Recipe
from copgkit.recipe.writing import to_yaml

__all__ = [
    "Figure",
    "Part",
    "Parts",
    "Plan",
    "Recipe",
    "ResolvedRecipe",
    "beta_of",
    "json_schema",
    "load_recipe",
    "make_plan",
    "options_from_text",
    "recorded_values",
    "to_yaml",
]
