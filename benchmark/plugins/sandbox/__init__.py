"""Plugins run in processes of their own, which can reach nothing and are stopped when they take too much.

    harness  --(control)-->  template   forks, never runs plugin code; one per harness process, torch already imported
       |                        |
       |                      guard     one per mask; makes the namespaces, drains the output, stops the plugin
       |                        |
       +-----(data)---------  plugin    confined; builds the network, answers rounds of masks with scores

`session` is the harness's end; `template`, `guard` and `plugin_process` are the other three, `wire` what they say to
each other; `confinement` and `system_calls` keep a plugin inside. See docs/security.md for what holds and what not.
"""
