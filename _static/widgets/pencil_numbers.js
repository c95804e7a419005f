/* The pencil model, forward and backward: all that transformer_lib/scratch computes of it, under the same names.

   Matrices are lists of rows; a linear map W lies there transposed, (out, in), as in PyTorch. Two heads of width 2, one
   pre-norm block with RMSNorm, RoPE and GELU, a head tied to the embedding. The loss is the mean over the positions. */
"use strict";

Widget.numbers(
  "pencil",
  (() => {
    const EPS = 1e-12;
    const HEADS = 2;
    const BLOCK = "blocks.0.";
    const [ATT, FFN] = [`${BLOCK}attention`, `${BLOCK}feedforward`];

    // Matrices ---------------------------------------------------------------------------------------------------

    const zip = (a, b, f) => a.map((row, i) => row.map((x, j) => f(x, b[i][j])));
    const add = (a, b) => zip(a, b, (x, y) => x + y);
    const transposed = (a) => a[0].map((_, j) => a.map((row) => row[j]));
    const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
    const times = (a, b) => {
      const columns = transposed(b);
      return a.map((row) => columns.map((column) => dot(row, column)));
    };
    const linear = (x, weight) => times(x, transposed(weight));
    const column_sums = (a) => transposed(a).map((column) => column.reduce((sum, x) => sum + x, 0));

    // Parts, each with its way back ------------------------------------------------------------------------------

    const inverse_size = (row) => 1 / Math.sqrt(dot(row, row) / row.length + EPS);
    const norm = (x, gain) => x.map((row) => row.map((value, j) => gain[j] * value * inverse_size(row)));
    function norm_back(dy, x, gain) {
      const normed = norm(x, gain.map(() => 1));
      const dx = dy.map((row, i) => {
        const dn = row.map((value, j) => value * gain[j]);
        const along = dot(dn, normed[i]) / row.length;
        return dn.map((value, j) => inverse_size(x[i]) * (value - normed[i][j] * along));
      });
      return [dx, column_sums(zip(dy, normed, (a, b) => a * b))];
    }

    /* RoPE for heads of width 2: one pair, which turns by its position in radians. */
    const turned = (head, way) =>
      head.map(([u, v], t) => {
        const [cos, sin] = [Math.cos(t), way * Math.sin(t)];
        return [u * cos - v * sin, v * cos + u * sin];
      });

    const softmax = (row) => {
      const largest = Math.max(...row);
      const powers = row.map((x) => Math.exp(x - largest));
      const sum = powers.reduce((total, x) => total + x, 0);
      return powers.map((x) => x / sum);
    };
    const softmax_back = (da, a) =>
      da.map((row, i) => row.map((value, j) => a[i][j] * (value - dot(row, a[i]))));

    /* The error function by a series whose terms are all positive, so that no digits cancel. */
    function erf(x) {
      if (Math.abs(x) > 6) return Math.sign(x);
      let [term, sum] = [x, x];
      for (let n = 1; n < 200 && Math.abs(term) > 1e-17 * Math.abs(sum); n += 1) {
        term *= (2 * x * x) / (2 * n + 1);
        sum += term;
      }
      return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
    }
    const below = (x) => (1 + erf(x / Math.SQRT2)) / 2; // the share of a normal distribution
    const gelu = (x) => x * below(x);
    const gelu_slope = (x) => below(x) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);

    const to_heads = (x) => [...Array(HEADS).keys()].map((h) => x.map((row) => row.slice(2 * h, 2 * h + 2)));
    const joined = (heads) => heads[0].map((_, t) => heads.flatMap((head) => head[t]));

    // The model --------------------------------------------------------------------------------------------------

    function forward(w, tokens) {
      const s = { embedding: tokens.map((token) => [...w["embedding.tokens.weight"][token]]) };
      s[`${ATT}_norm`] = norm(s.embedding, w[`${ATT}_norm.weight`]);
      s[`${ATT}.to_qkv`] = linear(s[`${ATT}_norm`], w[`${ATT}.to_qkv.weight`]);
      const [q, k, v] = [0, 4, 8].map((from) => to_heads(s[`${ATT}.to_qkv`].map((row) => row.slice(from, from + 4))));
      s[`${ATT}.q`] = q.map((head) => turned(head, 1));
      s[`${ATT}.k`] = k.map((head) => turned(head, 1));
      s[`${ATT}.v`] = v;
      s[`${ATT}.scores`] = s[`${ATT}.q`].map((head, h) =>
        linear(head, s[`${ATT}.k`][h]).map((row) => row.map((x) => x / Math.SQRT2)),
      );
      s[`${ATT}.weights`] = s[`${ATT}.scores`].map((head) =>
        head.map((row, t) => softmax(row.map((x, key) => (key <= t ? x : -Infinity)))),
      );
      s[`${ATT}.heads`] = s[`${ATT}.weights`].map((head, h) => times(head, v[h]));
      s[`${ATT}.out`] = linear(joined(s[`${ATT}.heads`]), w[`${ATT}.to_out.weight`]);
      s[`${ATT}_sum`] = add(s.embedding, s[`${ATT}.out`]);
      s[`${FFN}_norm`] = norm(s[`${ATT}_sum`], w[`${FFN}_norm.weight`]);
      s[`${FFN}.to_hidden`] = linear(s[`${FFN}_norm`], w[`${FFN}.to_hidden.weight`]);
      s[`${FFN}.activated`] = s[`${FFN}.to_hidden`].map((row) => row.map(gelu));
      s[`${FFN}.out`] = linear(s[`${FFN}.activated`], w[`${FFN}.to_out.weight`]);
      s[`${FFN}_sum`] = add(s[`${ATT}_sum`], s[`${FFN}.out`]);
      s.final_norm = norm(s[`${FFN}_sum`], w["final_norm.weight"]);
      s.logits = linear(s.final_norm, w["embedding.tokens.weight"]);
      return s;
    }

    const probabilities = (stages) => stages.logits.map(softmax);
    const loss = (stages, targets) =>
      dot(probabilities(stages).map((row, t) => -Math.log(row[targets[t]])), targets.map(() => 1)) / targets.length;

    /* The gradient of the loss with respect to each weight, and to each stage. */
    function backward(w, tokens, targets, s) {
      const [g, d] = [{}, {}];
      const table = "embedding.tokens.weight";
      const through = (dy, x, name) => {
        g[name] = times(transposed(dy), x);
        return times(dy, w[name]);
      };
      d.logits = probabilities(s).map((row, t) => row.map((p, c) => (p - (c === targets[t] ? 1 : 0)) / tokens.length));
      d.final_norm = through(d.logits, s.final_norm, table);
      let dx = normed_back("final_norm", d.final_norm, s[`${FFN}_sum`]);

      d[`${FFN}_sum`] = d[`${FFN}.out`] = dx;
      d[`${FFN}.activated`] = through(dx, s[`${FFN}.activated`], `${FFN}.to_out.weight`);
      d[`${FFN}.to_hidden`] = zip(d[`${FFN}.activated`], s[`${FFN}.to_hidden`], (dy, x) => dy * gelu_slope(x));
      d[`${FFN}_norm`] = through(d[`${FFN}.to_hidden`], s[`${FFN}_norm`], `${FFN}.to_hidden.weight`);
      dx = add(dx, normed_back(`${FFN}_norm`, d[`${FFN}_norm`], s[`${ATT}_sum`])); // past the part, and through it

      d[`${ATT}_sum`] = d[`${ATT}.out`] = dx;
      d[`${ATT}.heads`] = to_heads(through(dx, joined(s[`${ATT}.heads`]), `${ATT}.to_out.weight`));
      attention_back();
      const side_by_side = ["q", "k"].map((part) => joined(d[`${ATT}.${part}`].map((head) => turned(head, -1))));
      side_by_side.push(joined(d[`${ATT}.v`]));
      d[`${ATT}.to_qkv`] = tokens.map((_, t) => side_by_side.flatMap((part) => part[t]));
      d[`${ATT}_norm`] = through(d[`${ATT}.to_qkv`], s[`${ATT}_norm`], `${ATT}.to_qkv.weight`);
      d.embedding = add(dx, normed_back(`${ATT}_norm`, d[`${ATT}_norm`], s.embedding));
      tokens.forEach((token, t) => d.embedding[t].forEach((value, j) => (g[table][token][j] += value)));
      return { weights: g, stages: d };

      function normed_back(name, dy, x) {
        const [back, gain] = norm_back(dy, x, w[`${name}.weight`]);
        g[`${name}.weight`] = gain;
        return back;
      }

      function attention_back() {
        const [q, k, v, a] = ["q", "k", "v", "weights"].map((part) => s[`${ATT}.${part}`]);
        const out = d[`${ATT}.heads`];
        d[`${ATT}.weights`] = out.map((head, h) => linear(head, v[h]));
        d[`${ATT}.v`] = out.map((head, h) => times(transposed(a[h]), head));
        d[`${ATT}.scores`] = out.map((_, h) => softmax_back(d[`${ATT}.weights`][h], a[h]));
        const scaled = d[`${ATT}.scores`].map((head) => head.map((row) => row.map((x) => x / Math.SQRT2)));
        d[`${ATT}.q`] = scaled.map((head, h) => times(head, k[h]));
        d[`${ATT}.k`] = scaled.map((head, h) => times(transposed(head), q[h]));
      }
    }

    /* One step of gradient descent: every weight a little down its slope. */
    function stepped(w, gradients, rate) {
      const down = (x, slope) => (Array.isArray(x) ? x.map((y, i) => down(y, slope[i])) : x - rate * slope);
      return Object.fromEntries(Object.entries(w).map(([name, weight]) => [name, down(weight, gradients[name])]));
    }

    return { forward, backward, probabilities, loss, stepped };
  })(),
);
