"""Plugins: which there are (`registry`), their classes (`load`), what they say of themselves (`describe`, asked by
`child` of `examine`), a new one's files (`scaffold`), `conformance`, and the `sandbox` that runs them.

An author's code runs in a confined process, except where `load` is used. Imports `training` and below.
"""
