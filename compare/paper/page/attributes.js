// The attributes of compare/paper/attributes.py, of one picture: flat (H, W, C) in 0..255.

const SIDE = 28;

// Ink in [0, 1] at a row and column of a digit: the first channel, without the margin; 0 outside.
function ink(values, [height, width, channels]) {
  const margin = (height - SIDE) / 2;
  return (row, column) => (row < 0 || column < 0 || row >= SIDE || column >= SIDE ? 0 : values[((row + margin) * width + column + margin) * channels] / 255);
}

function sum(count, value) {
  let total = 0;
  for (let i = 0; i < count; i++) for (let j = 0; j < count; j++) total += value(i, j);
  return total;
}

function strokeWidth(values, image) {
  const at = ink(values, image);
  const outline = sum(SIDE + 1, (i, j) => Math.hypot(at(i, j - 1) - at(i - 1, j - 1), at(i - 1, j) - at(i - 1, j - 1)));
  return (2 * sum(SIDE, at)) / Math.max(outline, 1e-9);
}

function moments(values, image) {
  const at = ink(values, image), all = Math.max(sum(SIDE, at), 1e-9);
  const mean = (value) => sum(SIDE, (row, column) => at(row, column) * value(row, column)) / all;
  const x = mean((row, column) => column), y = mean((row) => row);
  return { xx: mean((row, column) => column ** 2) - x ** 2, yy: mean((row) => row ** 2) - y ** 2, xy: mean((row, column) => row * column) - x * y };
}

function slant(values, image) {
  const { yy, xy } = moments(values, image);
  return (Math.atan2(-xy, Math.max(yy, 1e-9)) * 180) / Math.PI;
}

function size(values, image) {
  const { xx, yy } = moments(values, image);
  return 2 * Math.sqrt(xx + yy);
}

function mean(values, keep) {
  let total = 0, count = 0;
  for (let i = 0; i < values.length; i++) if (keep(i)) { total += values[i]; count++; }
  return total / count / 255;
}

const MEASURES = {
  stroke_width: strokeWidth, slant, size,
  brightness: (values) => mean(values, () => true),
  warmth: (values, [, , channels]) => mean(values, (i) => i % channels === 0) - mean(values, (i) => i % channels === channels - 1),
};
