
'use strict';
(() => {
  const POINTS = 300, HEIGHT = 100, SVG = 'http://www.w3.org/2000/svg';
  const root = document.documentElement, charts = {}, shown = {};
  const all = (selector, from) => (from || document).querySelectorAll(selector);
  let source = null, heard = 0, number = 0;

  // Runs of neighbours that have a value, as points of the drawing.
  function runs(values, top) {
    const found = [[]], first = POINTS - values.length;
    values.forEach((value, i) => {
      if (value === null) found.push([]);
      else found[found.length - 1].push([first + i, Math.min(HEIGHT, Math.max(0, HEIGHT - value / top * HEIGHT)).toFixed(1)]);
    });
    return found.filter(run => run.length);
  }
  const points = run => run.map(([x, y]) => `L${x} ${y}`).join('');
  const line = (values, top) => runs(values, top).map(run => 'M' + points(run).slice(1) + (run.length === 1 ? 'h1' : '')).join('');
  const area = (values, top) => runs(values, top).map(run => `M${run[0][0]} ${HEIGHT}${points(run)}L${run[run.length - 1][0]} ${HEIGHT}Z`).join('');

  function draw(svg) {
    const chart = charts[svg.dataset.c];
    if (!chart) return;
    svg.setAttribute('aria-label', chart.label);
    const paths = all('path', svg);
    paths[0].setAttribute('d', area(chart.lines[0], chart.top));
    // The first line is the last path.
    chart.lines.forEach((values, i) => paths[paths.length - 1 - i].setAttribute('d', line(values, chart.top)));
  }
  function empty(id) {
    const svg = document.createElementNS(SVG, 'svg');
    svg.dataset.c = id;
    for (const [name, value] of [['role', 'img'], ['preserveAspectRatio', 'none'], ['viewBox', `0 0 ${POINTS} ${HEIGHT}`]]) svg.setAttribute(name, value);
    for (const name of ['a', 'l l0']) {
      const path = document.createElementNS(SVG, 'path');
      path.setAttribute('class', name);
      svg.append(path);
    }
    return svg;
  }
  function cell(made, name, heading) {
    const td = document.createElement(name === 'problems' ? 'li' : 'td');
    if (name !== 'problems') td.setAttribute('role', 'cell');
    if (made.k) td.dataset.k = made.k;
    if (made.n) { td.className = 'none'; td.colSpan = 9; } else if (heading) td.dataset.h = heading;
    if (made.c) td.append(empty(made.c));
    else if (made.m) td.append(Object.assign(document.createElement('code'), { textContent: made.t }));
    else td.textContent = made.t;
    return td;
  }
  function rows(place, list) {
    const name = place.dataset.r, text = JSON.stringify(list);
    if (shown[name] === text) return;
    shown[name] = text;
    place.replaceChildren(...list.flatMap(row => {
      if (name === 'problems') return row.map(made => cell(made, name));
      const headings = [...all('th', place.parentNode)].map(th => th.textContent);
      const tr = document.createElement('tr');
      tr.setAttribute('role', 'row');
      tr.append(...row.map((made, i) => cell(made, name, headings[i])));
      return [tr];
    }));
  }
  function show(message, isWhole) {
    if (!isWhole && message.n <= number) return;
    // One was missed: from the beginning.
    if (!isWhole && message.n > number + 1) return open();
    number = message.n;
    for (const place of all('[data-t]')) {
      const [text, tone] = message.t[place.dataset.t] || [''];
      if (place.textContent !== text) place.textContent = text;
      if (tone) place.dataset.k = tone;
    }
    for (const place of all('[data-r]')) rows(place, message.r[place.dataset.r] || []);
    for (const id in message.c) {
      const chart = message.c[id], old = charts[id];
      // A tick has the newest value of each line alone.
      if (!isWhole && old) chart.lines = old.lines.map((line, i) => [...line, ...chart.lines[i]].slice(-POINTS));
      charts[id] = chart;
    }
    all('svg[data-c]').forEach(draw);
    document.title = `${message.t.state[0]} · ${document.title.split(' · ').slice(1).join(' · ')}`;
    live(true);
  }
  function live(isOn) {
    root.dataset.live = isOn ? 'on' : 'off';
    document.getElementById('live').textContent = isOn ? 'live' : 'no connection, last figures of';
    if (isOn) heard = Date.now();
  }
  function open() {
    close();
    source = new EventSource('/events');
    source.addEventListener('all', event => show(JSON.parse(event.data), true));
    source.addEventListener('tick', event => show(JSON.parse(event.data), false));
    // A stream that ended is opened again by the browser; one that was refused is not.
    const own = source;
    source.onerror = () => {
      if (own === source && own.readyState === EventSource.CLOSED) setTimeout(() => { if (own === source) open(); }, 3000);
    };
  }
  function close() {
    if (source) source.close();
    source = null;
  }
  // A page that nobody sees leaves its place to others.
  document.addEventListener('visibilitychange', () => document.hidden ? close() : open());
  setInterval(() => { if (source && Date.now() - heard > 5000) live(false); }, 1000);
  heard = Date.now();
  open();
})();
