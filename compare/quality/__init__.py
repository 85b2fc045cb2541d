"""How good the images of a run are.

measures.py    the measures of digits, as formulas on arrays
pyramids.py    the measure of any images: sliced Wasserstein distance of their pyramids
extractor.py   trains the classifier whose features they compare, extractor.onnx
scorer.py      that classifier and the real digits: images -> scores
pictures.py    what is measured of each other data set, and its real images
evaluate.py    scores of runs, checkpoints and files; the command `compare.evaluate`
progress.py    scores of the states that a run passed through
bands.py       means and spreads over seeds; the command `compare.bands`
pretrained.py  the generator that comes with the project, with its scores
"""
