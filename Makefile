# What must hold for every commit; people and CI call the same targets. With the tools of .[test,docs] on the path:
#
#   make check

check: test style docs

test:
	python -m pytest -n logical

style:
	bash .ci/style

docs:
	bash .ci/docs

.PHONY: check test style docs
