# What must hold for every commit; people and CI call the same targets. With the tools of .[test,docs] on the path:
#
#   make check

check: test style docs

test:
	python -m pytest -n logical

style:
	ruff check .
	ruff format --check .
	mypy
	lint-imports

# Two builders read the one mkdocs.yml. A link that leads nowhere fails both.
docs:
	zensical build --strict
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

.PHONY: check test style docs
