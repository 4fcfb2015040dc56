#include "cli/report/style.h"

namespace reprise::cli {

// The values are read off the drawn areas, whose corners are in ten-thousandths of the panel.
std::string_view page_script() {
  return R"js('use strict';
const box = 10000;
const corners = path => {
  const list = [];
  let x = 0, y = box;
  for (const [, step, by] of path.getAttribute('d').matchAll(/([hv])(-?\d+)/g)) {
    if (step === 'h') x += Number(by);
    else { y += Number(by); list.push([x, y]); }
  }
  return list;
};
const height = (list, x) => {
  let y = box;
  for (const corner of list) {
    if (corner[0] > x) break;
    y = corner[1];
  }
  return box - y;
};
const digits = value => value >= 100 ? value.toFixed(0) : value.toPrecision(3);
const bytesText = bytes => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; bytes >= 1024 && unit + 1 !== units.length; ++unit) bytes /= 1024;
  return digits(bytes) + ' ' + units[unit];
};
const tipText = (plot, layers, x) => {
  const top = Number(plot.dataset.bytes), total = layers.length === 0 ? 0 : height(layers[0].list, x);
  const lines = [digits(Number(plot.dataset.ns) / 1e6 * x / box) + ' ms', 'all  ' + bytesText(top * total / box)];
  layers.forEach((layer, i) => {
    const below = i + 1 === layers.length ? 0 : height(layers[i + 1].list, x);
    const own = height(layer.list, x) - below;
    if (own > 0) lines.push(layer.name + '  ' + bytesText(top * own / box));
  });
  return lines.join('\n');
};
for (const plot of document.querySelectorAll('.plot')) {
  const areas = plot.querySelector('.areas');
  const cursor = document.createElement('div'), tip = document.createElement('div');
  cursor.className = 'cursor';
  tip.className = 'tip';
  let layers = null;
  plot.addEventListener('pointermove', event => {
    layers = layers || [...areas.querySelectorAll('path')].map(
      path => ({ name: path.getAttribute('class'), list: corners(path) }));
    const place = areas.parentNode.getBoundingClientRect(), frame = plot.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - place.left) / place.width, 0), 1);
    const left = place.left - frame.left + share * place.width;
    tip.textContent = tipText(plot, layers, share * box);
    plot.append(cursor, tip);
    cursor.style.left = left + 'px';
    cursor.style.height = areas.getAttribute('height') + 'px';
    tip.style.top = '8px';
    tip.style.left = Math.min(Math.max(share > 0.5 ? left - tip.offsetWidth - 10 : left + 10, 0),
                              frame.width - tip.offsetWidth) + 'px';
  });
  plot.addEventListener('pointerleave', () => { cursor.remove(); tip.remove(); });
}
)js";
}

}  // namespace reprise::cli
