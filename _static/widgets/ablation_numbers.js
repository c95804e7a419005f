/* What may be said of a record: means, spreads and ties, by the rules of transformer_lib/runs/records.py. */
"use strict";

Widget.numbers("ablation", {
  spread(values) {
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    const [least, greatest] = [Math.min(...values), Math.max(...values)];
    return { mean, least, greatest, width: greatest - least };
  },

  /* Whether two means are no farther apart than the wider of the two spreads. */
  ties(a, b) {
    const [one, other] = [this.spread(a), this.spread(b)];
    return Math.abs(one.mean - other.mean) <= Math.max(one.width, other.width);
  },

  /* Mean, least and greatest, such as 4.69 (4.66 to 4.72). */
  written(values) {
    const { mean, least, greatest } = this.spread(values);
    const size = Math.max(Math.abs(least), Math.abs(greatest));
    const digits = size >= 1000 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    const [middle, low, high] = [mean, least, greatest].map((x) => x.toFixed(digits));
    return low === high ? middle : `${middle} (${low} to ${high})`;
  },

  /* The arm with these settings, or undefined: not every combination was run. */
  arm(record, at) {
    return record.arms.find((arm) => arm.at.every((value, i) => value === at[i]));
  },
});
