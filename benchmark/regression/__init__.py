"""Do the committed headline numbers still follow from the committed records, and the records from the code?"""

from benchmark.regression.derived import derive
from benchmark.regression.outcome import Outcome

__all__ = ["Outcome", "derive"]
