"""TensorFlow in the tests' own process."""

from __future__ import annotations

import os

before = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
import tensorflow as tf  # noqa: E402

# Importing TensorFlow sets its log level in the environment, where the commands that the tests
# start would take it for the user's.
if before is None:
    os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)

# Two busy threads on two cores can make a small float64 step many times slower.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
