"""Lockstep. Whatever starts one of its verbs, nothing of it phones home: MLflow and DVC ask before they load."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("DVC_NO_ANALYTICS", "true")
