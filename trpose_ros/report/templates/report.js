'use strict';
(() => {
  const $ = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Tables: a click sorts by the number (or the name) behind a cell; cells without value go last.
  const sortTable = (table, column, header) => {
    const body = table.tBodies[0];
    const value = (row) => row.cells[column].dataset.value;
    const rows = [...body.rows];
    const numeric = rows.every((row) => value(row) === '' || !isNaN(Number(value(row))));
    const up = header.getAttribute('aria-sort') !== 'ascending';
    const compare = (a, b) => {
      if (a === '' || b === '') return (a === '') - (b === '');
      const order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
      return up ? order : -order;
    };
    rows.sort((a, b) => compare(value(a), value(b)));
    body.append(...rows);
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    header.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  };
  for (const table of document.querySelectorAll('table.sortable')) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      header.querySelector('button').addEventListener('click', () => sortTable(table, column, header));
    });
  }

  $('card-choice').addEventListener('change', (event) => {
    for (const card of document.querySelectorAll('.card')) {
      card.hidden = card.dataset.card !== event.target.value;
    }
  });

  // Plots take their text, grid and paper from the page's theme.
  const plots = [...document.querySelectorAll('script[data-plot]')].map((element) => ({
    div: $(element.dataset.plot),
    figure: JSON.parse(element.textContent),
  }));
  const themed = (layout) => {
    const out = structuredClone(layout);
    const base = { gridcolor: colour('--rule'), zerolinecolor: colour('--rule'), linecolor: colour('--rule') };
    out.paper_bgcolor = out.plot_bgcolor = 'rgba(0,0,0,0)';
    out.font = { color: colour('--ink'), family: 'system-ui, sans-serif', size: 13 };
    out.margin = { l: 60, r: 16, t: 40, b: 48, ...out.margin };
    for (const axis of ['xaxis', 'yaxis']) out[axis] ??= {};
    for (const key of Object.keys(out)) {
      if (/^[xy]axis\d*$/.test(key)) out[key] = { ...base, ...out[key] };
    }
    return out;
  };
  const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ['lasso2d', 'select2d'] };
  const drawPlots = () => Promise.all(
    plots.map(({ div, figure }) => Plotly.react(div, figure.data, themed(figure.layout), config)),
  );

  // The player: int16 millimetres, base64, (frames, joints, 3) in the camera's axes.
  const makePlayer = () => {
    const data = JSON.parse($('player-data').textContent);
    const joints = data.joints.length;
    const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const poses = (text) => new Int16Array(bytes(text).buffer);
    const view = $('player-view');
    const slider = $('player-time');
    let scene = null;
    let timer = 0;

    const point = (array, frame, joint) => {
      const at = 3 * (frame * joints + joint);
      if (array[at] === -32768) return [null, null, null];
      return [array[at] / 1000, array[at + 2] / 1000, -array[at + 1] / 1000]; // right, deep, up
    };
    const bones = (array, frame) => {
      const [x, y, z] = [[], [], []];
      for (const [a, b] of data.bones) {
        for (const joint of [a, b]) {
          const p = point(array, frame, joint);
          x.push(p[0]); y.push(p[1]); z.push(p[2]);
        }
        x.push(null); y.push(null); z.push(null);
      }
      return { x, y, z };
    };
    const hiddenJoints = (frame) => {
      const [x, y, z, text] = [[], [], [], []];
      for (let joint = 0; joint < joints; joint += 1) {
        if (!scene.hidden[frame * joints + joint]) continue;
        const p = point(scene.truth, frame, joint);
        x.push(p[0]); y.push(p[1]); z.push(p[2]); text.push(data.joints[joint]);
      }
      return { x, y, z, text };
    };
    const nothing = { x: [null], y: [null], z: [null] };
    const traces = (frame) => {
      const first = scene.methods[$('player-first').value];
      const second = scene.methods[$('player-second').value];
      const skeleton = (points, name, tint, width) => ({
        type: 'scatter3d', mode: 'lines', name, hoverinfo: 'name', ...points,
        line: { color: colour(tint), width },
      });
      return [
        skeleton(bones(scene.truth, frame), scene.reference, '--truth', 9),
        skeleton(first ? bones(first, frame) : nothing, $('player-first').value, '--baseline', 6),
        skeleton(second ? bones(second, frame) : nothing, $('player-second').value, '--ours', 6),
        {
          type: 'scatter3d', mode: 'markers', name: 'hidden', hoverinfo: 'text', ...hiddenJoints(frame),
          marker: { color: colour('--truth'), size: 5, symbol: 'circle-open', line: { width: 2 } },
        },
      ];
    };
    const range = () => {
      const low = [1e9, 1e9, 1e9];
      const high = [-1e9, -1e9, -1e9];
      for (let frame = 0; frame < scene.frames; frame += 1) {
        for (let joint = 0; joint < joints; joint += 1) {
          point(scene.truth, frame, joint).forEach((value, axis) => {
            if (value === null) return;
            low[axis] = Math.min(low[axis], value - 0.25);
            high[axis] = Math.max(high[axis], value + 0.25);
          });
        }
      }
      return low.map((value, axis) => [value, high[axis]]);
    };
    const layout = () => {
      const [x, y, z] = range();
      const axis = (title, limits) => ({
        title: { text: title }, range: limits, showbackground: false, gridcolor: colour('--rule'),
        zeroline: false, showspikes: false, color: colour('--dim'), nticks: 6,
      });
      return {
        paper_bgcolor: 'rgba(0,0,0,0)', font: { color: colour('--ink') }, showlegend: false,
        margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: 'same',
        scene: {
          xaxis: axis('right, m', x), yaxis: axis('depth, m', y), zaxis: axis('up, m', z),
          aspectmode: 'data', uirevision: 'same',
          camera: { eye: { x: 1.7, y: -1.6, z: 0.5 } },
        },
      };
    };
    const show = () => {
      const frame = Number(slider.value);
      const error = (id) => {
        const value = (scene.errors[$(id).value] ?? [])[frame];
        return value == null ? '-' : value.toFixed(0);
      };
      $('player-clock').textContent = `${(frame / scene.fps).toFixed(2)} s · `
        + `MPJPE ${error('player-first')} | ${error('player-second')} mm`;
      return Plotly.react(view, traces(frame), layout(), { displaylogo: false, responsive: true });
    };
    const fill = (id, names, chosen) => {
      $(id).replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
    };
    const openScene = () => {
      const raw = data.scenes[Number($('player-scene').value)];
      const methods = {};
      for (const [name, text] of Object.entries(raw.methods)) methods[name] = poses(text);
      scene = { ...raw, truth: poses(raw.truth), hidden: bytes(raw.hidden), methods };
      const names = Object.keys(methods);
      const kept = ['player-first', 'player-second'].map((id) => $(id).value);
      const usual = data.pairs[0] ?? [];
      const choice = (index) => [kept[index], usual[index], names[index], names[0]].find(
        (name) => names.includes(name),
      );
      fill('player-first', names, choice(0));
      fill('player-second', ['', ...names], names.length > 1 ? choice(1) : '');
      $('player-reference').textContent = scene.reference;
      slider.max = scene.frames - 1;
      slider.value = Math.min(Number(slider.value), scene.frames - 1);
      return show();
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      $('player-play').textContent = 'Play';
    };
    const play = () => {
      if (timer) return stop();
      const begin = performance.now() - (1000 * Number(slider.value)) / scene.fps;
      $('player-play').textContent = 'Pause';
      timer = setInterval(() => {
        const frame = Math.floor(((performance.now() - begin) / 1000) * scene.fps) % scene.frames;
        if (frame !== Number(slider.value)) {
          slider.value = frame;
          show();
        }
      }, 1000 / 30);
      return undefined;
    };

    data.scenes.forEach((entry, index) => $('player-scene').append(new Option(entry.title, index)));
    $('player-scene').addEventListener('change', openScene);
    for (const id of ['player-first', 'player-second']) $(id).addEventListener('change', show);
    slider.addEventListener('input', () => { if (timer) stop(); show(); });
    $('player-play').addEventListener('click', play);
    return { open: openScene, redraw: show };
  };

  const player = $('player') ? makePlayer() : null;
  const draw = () => Promise.all([drawPlots(), player ? player.redraw() : null]);
  $('theme').addEventListener('click', () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === 'dark'
      : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    draw();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  Promise.all([drawPlots(), player ? player.open() : null]).then(() => {
    document.documentElement.dataset.ready = 'true';
  });
})();
