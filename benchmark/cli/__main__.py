"""`python -m benchmark.cli`: what `lotterybench` starts."""

from benchmark.cli.entry import main

main()
