// The generator's forward pass in evaluation mode. Batch norm is folded into the layers
// (compare/report/mnist28.py, folded()), so what is left is dense layers and transposed convolutions of
// stride 2 with 4 x 4 kernels. Images are flat, channels last.

// float16 bits -> number
const HALF = (() => {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    table[bits] = bits >> 15 ? -size : size; // no infinity or NaN: a checkpoint has none
  }
  return table;
})();

function bytes(base64) {
  const text = atob(base64), found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
  return found.buffer;
}

const float32 = (base64) => new Float32Array(bytes(base64));

function unpack({ half, data }) {
  if (!half) return float32(data);
  const packed = new Uint16Array(bytes(data)), found = new Float32Array(packed.length);
  for (let i = 0; i < packed.length; i++) found[i] = HALF[packed[i]];
  return found;
}

// ReLU leaves about half of a layer's values 0, which need no work.
function dense(x, kernel, y) {
  const n = y.length;
  for (let i = 0; i < x.length; i++) {
    const v = x[i], at = i * n;
    if (v !== 0) for (let o = 0; o < n; o++) y[o] += v * kernel[at + o];
  }
}

function deconv(x, side, kernel, y) {
  const wide = 2 * side, n = y.length / (wide * wide), inputs = x.length / (side * side);
  for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
    for (let c = 0; c < inputs; c++) {
      const v = x[(row * side + column) * inputs + c];
      if (v === 0) continue;
      for (let i = 0; i < 4; i++) {
        const Y = 2 * row + i - 1;
        if (Y < 0 || Y >= wide) continue;
        for (let j = 0; j < 4; j++) {
          const X = 2 * column + j - 1;
          if (X < 0 || X >= wide) continue;
          const to = (Y * wide + X) * n, from = ((c * 4 + i) * 4 + j) * n;
          for (let o = 0; o < n; o++) y[to + o] += v * kernel[from + o];
        }
      }
    }
  }
}

// Noise -> image in (-1, 1), flat.
function generate(layers, noise) {
  let x = noise;
  for (const { kind, side, kernel, bias, activation, factor } of layers) {
    const y = Float32Array.from(bias);
    if (kind === 'dense') dense(x, kernel, y); else deconv(x, side, kernel, y);
    for (let i = 0; i < y.length; i++) {
      y[i] = activation === 'relu' ? Math.max(0, y[i]) : Math.tanh(y[i]);
      if (factor) y[i] *= factor[i];
    }
    x = y;
  }
  return x;
}

// (-1, 1) -> 0..255, as common/images.py rounds: a half to the even neighbour.
function grey(x) {
  return Uint8ClampedArray.from(x, (v) => (v + 1) * 127.5);
}

const waiting = new Map(), arrived = new Map();

// A run's layers, loaded at the first call: a page opened from disk may load scripts, not fetch.
function loadGenerator(key, address) {
  if (arrived.has(key)) return arrived.get(key);
  const promise = new Promise((resolve, reject) => {
    waiting.set(key, resolve);
    const script = document.createElement('script');
    script.src = address;
    script.onerror = () => reject(new Error(address));
    document.head.append(script);
  });
  promise.catch(() => arrived.delete(key));
  arrived.set(key, promise);
  return promise;
}

function receive(key, layers) {
  const names = ['kernel', 'bias', 'factor'];
  for (const layer of layers) for (const name of names) if (layer[name]) layer[name] = unpack(layer[name]);
  waiting.get(key)(layers);
}
