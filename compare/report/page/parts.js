// What every page is made of: data, words, small parts. A page's `state` has language and theme.
// All text enters the page as text nodes, so that no name or message can become markup.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const DATA = read('data'), STRINGS = read('strings');
const $ = (id) => document.getElementById(id);

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === true) element.setAttribute(name, ''); else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

// -------- words and numbers

function t(key, values) {
  const text = STRINGS[state.lang][key] ?? STRINGS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (values && values[name] != null ? values[name] : whole));
}

// `code` in a sentence becomes a code element.
const rich = (text) => text.split('`').map((part, i) => (i % 2 ? h('code', {}, part) : part));

const commas = (text) => text.replace(/^-?\d+/, (d) => d.replace(/\B(?=(\d{3})+$)/g, ','));
const grouped = (x) => commas(String(Math.round(x * 1e6) / 1e6));
const fixed = (x, digits) => (x == null || !Number.isFinite(x) ? '–' : commas(x.toFixed(digits)));
const power = (n) => `10${[...String(n)].map((c) => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c])).join('')}`;
function small(x) {
  if (x == null) return '–';
  if (x === 0) return '0';
  const [mantissa, exponent] = x.toExponential(1).split('e');
  return Number(exponent) >= -2 && Number(exponent) < 4 ? String(Number(x.toPrecision(2))) : `${mantissa} × ${power(Number(exponent))}`;
}
function tick(y) {
  if (y === 0) return '0';
  const exponent = Math.floor(Math.log10(Math.abs(y)) + 1e-9);
  return exponent < -3 || exponent > 5 ? power(exponent) : grouped(y);
}
function duration(seconds) {
  if (seconds == null) return '–';
  if (seconds < 100) return `${fixed(seconds, seconds < 10 ? 1 : 0)} s`;
  return seconds < 6000 ? `${fixed(seconds / 60, 1)} min` : `${fixed(seconds / 3600, 1)} h`;
}

// -------- small parts

const TITLES = { pytorch: 'PyTorch', tensorflow: 'TensorFlow', keras: 'Keras · TensorFlow', 'keras-torch': 'Keras · PyTorch', 'keras-jax': 'Keras · JAX' };
const engineTitle = (name) => TITLES[name] || name;

// heads: words, those beginning with < to the left. rows: { class, cells }, the first cell its head.
function table(heads, rows, kind = '') {
  const left = heads.map((head) => head.startsWith('<'));
  const cell = (content, i) => h(i ? 'td' : 'th', { scope: i ? null : 'row', class: left[i] ? 'l' : null }, content);
  return h('table', { class: kind },
    h('thead', {}, h('tr', {}, heads.map((head, i) => h('th', { scope: 'col', class: left[i] ? 'l' : null }, head.replace('<', ''))))),
    h('tbody', {}, rows.map((row) => h('tr', { class: row.class || null }, row.cells.map((content, i) => {
      const made = cell(content ?? '–', i);
      if (row.bar === i) made.classList.add('bar-cell');
      return made;
    })))));
}

function choice(box, values, current, set, word = (value) => t(`${box.id}_${value}`)) {
  box.replaceChildren(...values.map((value) => {
    const input = h('input', { type: 'radio', name: box.id, value, checked: value === current });
    input.addEventListener('change', () => set(value));
    return h('label', {}, input, h('span', {}, word(value)));
  }));
}

// -------- language and colours

function wordsFromHash(given) {
  const languages = [given.get('lang'), ...(navigator.languages || [])];
  state.lang = languages.map((name) => (name || '').slice(0, 2)).find((name) => STRINGS[name]) || 'en';
  state.theme = ['light', 'dark'].includes(given.get('theme')) ? given.get('theme') : 'auto';
}

function wordsToHash(kept) {
  kept.set('lang', state.lang);
  if (state.theme !== 'auto') kept.set('theme', state.theme);
}

// The words of the template, and the two buttons that change them.
function drawWords() {
  const html = document.documentElement, all = (chosen) => document.querySelectorAll(chosen);
  html.lang = state.lang === 'zh' ? 'zh-CN' : 'en';
  if (state.theme === 'auto') delete html.dataset.theme; else html.dataset.theme = state.theme;
  for (const element of all('[data-t]')) element.replaceChildren(...rich(t(element.dataset.t)));
  for (const element of all('[data-label]')) element.ariaLabel = t(element.dataset.label);
  for (const box of all('.scroll')) box.ariaLabel = t('scroll');
  for (const element of all('[data-role]')) element.setAttribute('aria-roledescription', t(element.dataset.role));
  $('language').textContent = t('other_language'); $('language').lang = state.lang === 'zh' ? 'en' : 'zh-CN';
  $('theme').textContent = { auto: '◐', light: '☀', dark: '☾' }[state.theme];
  $('theme').title = $('theme').ariaLabel = t('theme', { theme: t(`theme_${state.theme}`) });
}

function wordEvents(changed) {
  $('language').addEventListener('click', () => { state.lang = state.lang === 'zh' ? 'en' : 'zh'; changed(); });
  $('theme').addEventListener('click', () => { state.theme = { auto: 'light', light: 'dark', dark: 'auto' }[state.theme]; changed(); });
}
