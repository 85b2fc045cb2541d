"""The DCGAN in TensorFlow."""
