# make setup   make the environment, in .venv
# make demo    see MaskSup work on generated colonoscopy frames, in a few minutes, on any computer; the released model, too
# make test    lint, types and tests: the whole gate
# make test-slow   what takes half an hour: every network learns real glands by heart (needs the real data), and more
# make test-label  the label server, driven by MONAI Label's own client, in an environment that this makes first
# make clean   remove what these made

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -W ignore -m monai.bundle run

# What our metrics are tested against. Without its dependencies, because it declares that it wants an older NumPy and
# scikit-image than the rest; it runs with these, too.
REFERENCES := pysodmetrics==1.6.2 opencv-python-headless==4.14.0.94

.PHONY: help setup demo test test-slow test-label clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: .venv/done
.venv/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --no-deps $(REFERENCES)
	@touch $@

# A model is trained on small pictures for few epochs, so that it is quick; the rest is the bundle as it is. The released
# one has never seen such drawings: it is there to show the command.
DEMO := demo/my_polyps/configs
QUICK := --hiding\#patch_size 8 --max_epochs 12 --val_interval 3 --batch_size 4 --learning_rate 0.001
demo: setup
	rm -rf demo
	$(BIN)/masksup phantoms polyp demo/phantoms --count 200
	$(BIN)/masksup phantoms polyp demo/frames --count 8 --seed 1
	$(BIN)/masksup bundle copy polyp_masksup demo/my_polyps
	sed -i.full 's/^image_size: .*/image_size: [128, 128]/' demo/my_polyps/configs/train.yaml demo/my_polyps/configs/inference.yaml
	$(RUN) --config_file $(DEMO)/train.yaml --dataset_dir demo/phantoms --output_dir demo/training $(QUICK)
	$(RUN) --config_file "['$(DEMO)/train.yaml','$(DEMO)/evaluate.yaml']" \
	  --dataset_dir demo/training/datalist.json --output_dir demo/training $(QUICK)
	$(BIN)/masksup calibrate --bundle demo/my_polyps --datalist demo/training/datalist.json -o demo/quality
	$(BIN)/masksup predict demo/frames/images -o demo/results --bundle demo/my_polyps
	$(BIN)/masksup predict demo/frames/images -o demo/released --bundle polyp_masksup
	@echo
	@awk -F, '$$1 == "val_mean_iou" {printf "IoU      %.3f on the validation phantoms\n", $$2}' demo/training/metrics.csv
	@echo "report   demo/results/report.html, of the frames in demo/frames/images; demo/released/report.html, the same by the released model"
	@echo "MLflow   $(BIN)/mlflow ui --backend-store-uri sqlite:///demo/training/mlruns.db"

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

test-slow: setup
	$(BIN)/python -m pytest -n 2 -m slow

LABEL := .venv/monai-label/masksup-label-done
$(LABEL): .venv/done masksup_med/label/requirements.txt masksup_med/label/environment.py masksup_med/label/sitecustomize.py
	$(BIN)/masksup label --install
test-label: $(LABEL)
	.venv/monai-label/bin/python -m pytest -n 2 --dist loadfile tests/label/server

clean:
	rm -rf .venv demo build dist .*_cache *.egg-info
