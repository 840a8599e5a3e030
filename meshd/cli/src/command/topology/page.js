'use strict';
(() => {
  const $ = (id) => document.getElementById(id);
  const view = $('view'), details = $('details'), search = $('search');
  let box = null, whole = null;

  const apply = () => { const map = $('map'); if (map && box) map.setAttribute('viewBox', box.join(' ')); };
  const zoom = (factor, x, y) => {
    if (!box) return;
    x = x ?? box[0] + box[2] / 2; y = y ?? box[1] + box[3] / 2;
    const width = Math.min(Math.max(box[2] * factor, whole[2] / 60), whole[2] * 3);
    const scale = width / box[2];
    box = [x - (x - box[0]) * scale, y - (y - box[1]) * scale, width, box[3] * scale];
    apply();
  };
  const fit = () => { box = whole && whole.slice(); apply(); };
  const point = (event) => {
    const map = $('map'), p = new DOMPoint(event.clientX, event.clientY);
    return p.matrixTransform(map.getScreenCTM().inverse());
  };

  // Native tooltips are slow and small: their texts move to the panel.
  const adopt = () => {
    const map = $('map');
    if (!map) return;
    for (const title of map.querySelectorAll('title')) {
      title.parentNode.dataset.info = title.textContent;
      title.remove();
    }
    const size = map.viewBox.baseVal;
    const now = [size.x, size.y, size.width, size.height];
    const same = whole && whole.every((value, index) => value === now[index]);
    whole = now;
    if (!same || !box) box = whole.slice();
    apply();
    filter();
  };

  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    const nodes = view.querySelectorAll('[data-node]');
    let first = null;
    for (const node of nodes) {
      const hit = wanted !== '' && node.dataset.info.toLowerCase().includes(wanted);
      node.classList.toggle('hit', hit);
      node.classList.toggle('dim', wanted !== '' && !hit);
      if (hit && (!first || node.dataset.node.toLowerCase() === wanted)) first = node;
    }
    for (const row of view.querySelectorAll('#broken tr')) {
      const text = row.textContent.toLowerCase();
      row.hidden = wanted !== '' && !text.includes(wanted);
    }
    return first;
  };
  const find = (text) => {
    search.value = text;
    const node = filter();
    if (!node) return;
    const area = node.getBBox();
    const width = whole[2] / 4, height = whole[3] / 4;
    box = [area.x + area.width / 2 - width / 2, area.y + area.height / 2 - height / 2, width, height];
    apply();
    tell(node.dataset.info);
  };
  const tell = (text) => { details.textContent = text || ''; details.hidden = !text; };

  search.addEventListener('input', filter);
  search.addEventListener('keydown', (event) => { if (event.key === 'Enter') find(search.value); });
  $('color').addEventListener('change', (event) => { document.body.className = 'color-' + event.target.value; });
  $('in').addEventListener('click', () => zoom(0.7));
  $('out').addEventListener('click', () => zoom(1.4));
  $('fit').addEventListener('click', fit);
  view.addEventListener('wheel', (event) => {
    if (!event.target.closest('#map')) return;
    event.preventDefault();
    const p = point(event);
    zoom(event.deltaY < 0 ? 0.85 : 1.18, p.x, p.y);
  }, { passive: false });
  view.addEventListener('pointerdown', (event) => {
    const map = event.target.closest('#map');
    if (!map) return;
    let last = point(event);
    map.classList.add('drag');
    const move = (event) => {
      const p = point(event);
      box[0] += last.x - p.x; box[1] += last.y - p.y;
      apply();
      last = point(event);
    };
    const up = () => {
      $('map').classList.remove('drag');
      window.removeEventListener('pointermove', move);
    };
    window.addEventListener('pointermove', move);
    window.addEventListener('pointerup', up, { once: true });
  });
  view.addEventListener('mouseover', (event) => {
    const shape = event.target.closest('[data-info]');
    tell(shape ? shape.dataset.info : event.target.closest('td[title]')?.title);
  });
  view.addEventListener('click', (event) => {
    const row = event.target.closest('#broken tr'), button = event.target.closest('[data-find]');
    if (button) find(button.dataset.find);
    else if (row) find(row.dataset.a);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { search.value = ''; filter(); fit(); tell(''); }
    if (event.key === '/' && document.activeElement !== search) { event.preventDefault(); search.focus(); }
  });

  adopt();
  document.body.dataset.ready = 'yes';
  const live = document.body.dataset.live, source = $('source');
  if (!live) return;
  let seen = Date.now();
  const refresh = async () => {
    try {
      const answer = await fetch(live, { cache: 'no-store' });
      if (!answer.ok) throw new Error(await answer.text());
      view.innerHTML = await answer.text();
      const kept = box;
      adopt();
      if (kept && box) { box = kept; apply(); }
      seen = Date.now();
      source.textContent = 'live';
    } catch (error) {
      source.textContent = 'no answer for ' + Math.round((Date.now() - seen) / 1000) + ' s: ' + error.message;
    }
    setTimeout(refresh, 2000);
  };
  setTimeout(refresh, 2000);
})();
