// Charts over time, drawn by uPlot in the page's colours.
/* global uPlot, ResizeObserver, matchMedia */

const told = (value, unit) => value === null || value === undefined ? '–' : unit(value)

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

// A chart in `place` of these series, each { label, colour, dash, value }. Gives a function that takes its data:
// [times in seconds, values, …].
export function chart (place, { series, height = 210, unit = value => value, floor = true, days = false, describe }) {
  place.classList.add('chart')
  place.setAttribute('role', 'img')
  let plot
  let held = [[], ...series.map(() => [])]
  const options = () => {
    const whole = { incrs: [1, 2, 5, 10, 30, 60, 120, 300, 600, 3600, 86400, 7 * 86400, 30 * 86400] }
    const axis = { stroke: colour('--soft'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' }
    const line = it => ({
      label: it.label,
      stroke: colour(it.colour),
      width: it.dash ? 1.5 : 2,
      dash: it.dash,
      points: { show: days && !it.dash },
      // Where nobody points, the newest.
      value: (plot, value, place, index) => told(index === null ? plot.data[place].at(-1) : value, unit)
    })
    return {
      width: Math.max(place.clientWidth, 200),
      height,
      cursor: { y: false },
      scales: { x: { time: true }, y: { range: (_, low, high) => [floor ? 0 : low, high > 0 ? high * 1.08 : 1] } },
      axes: [{ ...axis, ...whole }, { ...axis, size: 58, values: (_, splits) => splits.map(unit) }],
      series: [{ label: days ? 'Day' : 'Time', value: (_, at) => at ? new Date(at * 1000)[days ? 'toLocaleDateString' : 'toLocaleTimeString']() : 'now' }, ...series.map(line)]
    }
  }
  const draw = () => {
    plot?.destroy()
    plot = new uPlot(options(), held, place)
  }
  draw()
  new ResizeObserver(() => {
    const width = Math.max(place.clientWidth, 200)
    if (plot.width !== width) plot.setSize({ width, height })
  }).observe(place)
  const scheme = matchMedia('(prefers-color-scheme: dark)')
  scheme.addEventListener('change', function redraw () {
    if (place.isConnected) draw()
    else scheme.removeEventListener('change', redraw)
  })
  return data => {
    held = data
    plot.setData(data)
    place.setAttribute('aria-label', describe(data))
  }
}
