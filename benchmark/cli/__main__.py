"""`python -m benchmark.cli`: what `lotterybench` starts."""

from benchmark.cli.main import main

main()
