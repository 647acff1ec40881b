"""Cut and flip outputs at random and print what was noticed: `python tests/fuzz/damage.py --n 500`."""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.damage import damage_at_random, write_outputs

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    wrong_ones = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_outputs(Path(folder))
        for kind in ("cut", "flip"):
            outcomes, wrong = damage_at_random(files, kind, arguments.n, arguments.seed)
            refused, equal = (sum(n for (_, o), n in outcomes.items() if o == word) for word in ("refused", "equal"))
            share = (refused + equal) / arguments.n
            print(f"{kind}: {refused} of {arguments.n} refused, {equal} equal, {len(wrong)} wrong; {share:.1%} right")
            for (suffix, outcome), n in sorted(outcomes.items()):
                print(f"  {suffix} {outcome}: {n}")
            wrong_ones += wrong
    for line in wrong_ones:
        print(line, file=sys.stderr)
    sys.exit(bool(wrong_ones))
