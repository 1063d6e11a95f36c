"""Plugins: which there are (`registry`), their classes (`load`), what they say of themselves (`describe`, asked by
`child` of `examine`), a new one's files (`scaffold`), `conformance`, and the `sandbox` that runs them.

A third party's code runs in a confined process; `load` imports it. Imports `training` and below.
"""
