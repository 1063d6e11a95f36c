"""How claims are decided: one class a rule, with its data, what it needs, its evaluation and its words.

A rule is written from the paper's statement alone. Margins stand in the protocol (`statistics.margins`), so no rule
carries its own, and none was chosen after a result was known. To add a rule: a class in a module here, registered under
the word that YAML files give as `rule:`, and that word in the table of `rules.base`. Imports what `claims` may.
"""
