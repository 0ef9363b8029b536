"""Predictions of deployed models from the features of the online store.

Belongs here: ONNX files as sessions, what they must agree on with the features, policies for missing and stale values, answers.
Does not: the definition (definitions/deployed.py), deploying (registry/), HTTP and the log of predictions (serving/).
"""
