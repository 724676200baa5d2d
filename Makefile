# demo, test, check and bench; each makes .venv first if it is missing or older than what it is made from.
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# The matrices here are small: threads of BLAS only wait for one another, and their number would change last digits.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check bench

demo: $(INSTALLED)
	$(BIN)/fogsim demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Timings, then the studies: hours on two cores, most of them the slow tests', with the calibration study. Studies resume.
bench: $(INSTALLED)
	$(BIN)/pip install -c constraints.txt -e '.[peers]'
	$(BIN)/pip install --no-deps particles==0.4  # it asks for NumPy 1; what is timed of it runs with 2
	$(BIN)/pip install --no-deps laplace-torch==0.3 asdfghjkl==0.1a4 backpack-for-pytorch==1.7.1 \
	    curvlinops-for-pytorch==3.0.1 einconv==0.1.0 einops==0.8.2 lightning-utilities==0.15.3 linear_operator==0.6.1 \
	    torchmetrics==1.9.0 unfoldNd==0.2.3  # it asks for torchvision, and never imports it
	$(BIN)/python tests/bench/raycast.py
	$(BIN)/python tests/bench/scan.py
	$(BIN)/python tests/bench/fogging.py
	$(BIN)/python tests/bench/frame_time.py
	$(BIN)/python tests/bench/campaign.py
	$(BIN)/python tests/bench/score.py
	$(BIN)/python tests/bench/viewer.py
	$(BIN)/python tests/bench/log.py
	$(BIN)/python tests/bench/kernels.py
	$(BIN)/python tests/bench/serving.py
	$(BIN)/python tests/bench/posterior_gpu.py
	$(BIN)/python scenarios/studies/bearing_range.py
	$(BIN)/python scenarios/studies/kernel_bayes.py
	$(BIN)/python scenarios/studies/heteroscedastic_bnn.py
	$(BIN)/python scenarios/studies/classifier.py
	$(BIN)/python scenarios/studies/unseen_objects.py
	$(BIN)/python scenarios/studies/first_table.py
	$(BIN)/python scenarios/studies/decisions.py
	$(BIN)/python scenarios/studies/radar_gain.py
	$(BIN)/python scenarios/studies/misspecification.py
	$(BIN)/python scenarios/studies/learning_debt.py
	$(BIN)/python scenarios/studies/compute_gate.py
	$(BIN)/python scenarios/studies/forgetting.py
	$(BIN)/python scenarios/studies/transformer_shift.py
	$(BIN)/python scenarios/studies/fog_forecast.py
	$(BIN)/python -m pytest -m slow --timeout=5400

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt -e '.[test]'
	touch $@
