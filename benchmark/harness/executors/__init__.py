"""Where jobs run: in this process, in local workers, or on a cluster; each works off what nobody else holds."""
