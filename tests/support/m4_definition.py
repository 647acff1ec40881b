"""M4 as docs/balance.md defines it, row by row, for cvxpy: both codings, nulls, sides, preserved labels."""

import cvxpy as cp
import numpy as np
import pyarrow as pa

Group = tuple[str, np.ndarray, np.ndarray]  # name, shown, known


class Definition:
    """A random table, and its moments and tolerances written down from the tables of docs/balance.md.

    ``attributes`` maps an attribute's column prefix to its number of groups.
    """

    def __init__(self, seed: int, attributes: dict[str, int], nulls: bool, utility: bool, **options):
        self.rng, self.n, self.options = np.random.default_rng(seed), 240, options
        self.lean = self.rng.random(self.n)  # makes groups and labels go together
        self.moments, self.eps, self.columns, self.compared = [], [], {}, []
        groups = {prefix: self._groups(prefix, size, nulls) for prefix, size in attributes.items()}
        labels = [self._draw(0.3) for _ in range(3)]
        names = ("target.y0", "image.target.y1", "text.target.y2")
        self.columns |= dict(zip(names, labels, strict=True))
        self.columns["proxy.p"] = self._draw(0.3)
        if options.get("proxies"):
            labels.append(self.columns["proxy.p"])
        for members in groups.values():
            self._add_moments(members, labels)
        if options.get("preserve") == "labels":
            self._preserve(labels)
        self.moments, self.eps = np.array(self.moments), np.array(self.eps)
        self.utility = np.ones(self.n)
        if utility:
            self.utility = self.rng.integers(0, 128, self.n) / 128  # each alone in its bin, and so is 1
            unknown = self.rng.random(self.n) < 0.1
            self.columns["utility"] = pa.array(self.utility.astype(np.float32), mask=unknown)
            self.utility[unknown] = 1.0

    def _draw(self, share: float) -> np.ndarray:
        return self.rng.random(self.n) < share + 0.3 * (self.lean - 0.5)

    def _groups(self, prefix: str, size: int, nulls: bool) -> list[Group]:
        members = []
        for v in range(size):
            flags, unknown = self._draw(0.4), (self.rng.random(self.n) < 0.15) & nulls
            self.columns[f"{prefix}.v{v}"] = pa.array(flags, mask=unknown)
            members.append((f"{prefix}.v{v}".replace("sensitive.", ""), flags & ~unknown, ~unknown))
        return members

    def _add_moments(self, members: list[Group], labels: list[np.ndarray]) -> None:
        target, coding = self.options.get("target", {}), self.options.get("attribute_coding", "auto")
        if len(members) == 2 and coding != "one_hot":
            (name, first, is_known), (_, other, also_known) = members
            both = is_known & also_known
            contrasts = [(both & first & ~other, both & other & ~first, target.get(name, 0.5))]
        else:
            is_known = np.any([m[2] for m in members], axis=0)
            covered = np.any([m[1] for m in members], axis=0)[is_known].mean()
            default = 0.5 if len(members) == 1 else covered / len(members)
            contrasts = [
                (is_shown, is_known & ~is_shown, target.get(name, default)) for name, is_shown, is_known in members
            ]
        if len(contrasts) == 1 and len(members) == 2:
            self.compared.append(contrasts[0][0] | contrasts[0][1])
        for inside, outside, pi in contrasts:
            signal = inside * (1 - pi) - outside * pi
            self.moments += [signal, *(signal * y for y in labels)]
            self.eps.append(0.005 * (inside | outside).mean())
            relative = [0.05 * ((inside | outside) & y).mean() * pi * (1 - pi) for y in labels]
            self.eps += [self.options.get("eps_abs", tolerance) for tolerance in relative]

    def _preserve(self, labels: list[np.ndarray]) -> None:
        for column in [*labels, *self.compared]:
            self.moments.append(column - column.mean())
            self.eps.append(self.options.get("preserve_tolerance", 0.1) * column.mean())

    def largest_retention(self, cap: float) -> float:
        q = cp.Variable(self.n)
        mean = cp.sum(q) / self.n
        held = [cp.abs(self.moments @ q / self.n) <= mean * self.eps, q >= 0, q <= cap]
        return min(cp.Problem(cp.Maximize(mean), held).solve(solver=cp.CLARABEL), 1.0)

    def solve(self, retention: float, cap: float, price: float | None = None) -> tuple[float, np.ndarray]:
        q = cp.Variable(self.n)
        over = cp.abs(self.moments @ q / self.n) - retention * self.eps
        objective = 0.5 * cp.sum_squares(q - retention * self.utility) / self.n
        held = [cp.sum(q) == retention * self.n, q >= 0, q <= cap]
        if price is None:
            held.append(over <= 0)
        else:
            objective += price * cp.sum(cp.pos(over))
        problem = cp.Problem(cp.Minimize(objective), held)
        return problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-11), q.value
