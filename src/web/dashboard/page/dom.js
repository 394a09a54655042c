// Elements made without HTML: whatever is shown is text, so nothing that it says can run.

// An element: h('td', { class: 'number' }, 3). A property that is null or false is left out; `on` has listeners.
export function h (tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  fill(element, attributes, children)
  return element
}

// The same of SVG.
export function s (tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  fill(element, attributes, children)
  return element
}

function fill (element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue
    if (name === 'on') Object.entries(value).forEach(([event, heard]) => element.addEventListener(event, heard))
    else if (name === 'width' && element.style && typeof value === 'number' && value <= 1) element.style.width = `${value * 100}%`
    else element.setAttribute(name, value === true ? '' : value)
  }
  element.append(...children.flat(9).filter(child => child !== null && child !== undefined && child !== false))
}

export function show (place, ...children) {
  place.replaceChildren(...children.flat(9).filter(child => child !== null && child !== undefined && child !== false))
}

// A table that becomes a list of cards where it is narrow. A column is [its name, a row's cell, its class].
export function table (columns, rows, none = 'None.') {
  if (rows.length === 0) return h('p', { class: 'empty' }, none)
  const head = columns.map(([name, , kind]) => h('th', { scope: 'col', class: kind === 'number' ? 'number' : null }, name))
  const cell = ([name, of, kind], row) => h('td', { 'data-of': name, class: kind }, of(row))
  return h('div', { class: 'scroll' }, h('table', { class: 'stack' },
    h('thead', {}, h('tr', {}, head)),
    h('tbody', {}, rows.map(row => h('tr', {}, columns.map(column => cell(column, row)))))))
}

// Pairs of what and how much; what is null is left out.
export function facts (pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '')
  return h('dl', {}, known.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]))
}

export function card (title, kind, ...children) {
  return h('section', { class: `card ${kind}` }, h('h2', {}, title), children)
}

export function badge (text, kind = '') {
  return h('span', { class: `badge ${kind}` }, text)
}

// Horizontal bars of [label, count].
export function bars (rows, none) {
  const most = Math.max(1, ...rows.map(([, count]) => count))
  if (rows.length === 0) return h('p', { class: 'empty' }, none)
  return h('div', { class: 'bars' }, rows.map(([label, count]) => [
    h('span', { class: 'label' }, label),
    h('span', { class: 'bar' }, h('span', { width: count / most })),
    h('span', { class: 'number' }, number(count))
  ]))
}

const numbers = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 })
const amounts = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 })
export const number = value => numbers.format(value)
export const amount = value => amounts.format(Number(value))
export const percent = (share, digits = 1) => share === null || share === undefined ? '–' : `${(share * 100).toFixed(digits)} %`
export const word = text => String(text ?? '').replaceAll('_', ' ')

export function duration (ms) {
  const seconds = ms / 1000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86400)} d`
}

// A moment, in the viewer's zone; the whole of it, in UTC, is its title.
export function moment (text) {
  if (!text) return null
  const date = new Date(text)
  if (Number.isNaN(date.getTime())) return String(text)
  const options = { year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit' }
  return h('time', { datetime: text, title: text }, date.toLocaleString(undefined, options))
}

export const customerLink = id => h('a', { href: `#/customers/${encodeURIComponent(id)}` }, id)
export const decisionLink = (id, text = id.slice(0, 8)) => h('a', { href: `#/decisions/${encodeURIComponent(id)}`, class: text === id.slice(0, 8) ? 'mono' : null, title: id }, text)

const KINDS = { send: 'good', accepted: 'good', passed: 'good', drawn: 'good', suppress: 'warn', refused: 'bad', withdrawn: 'warn', expired: 'warn', unknown: 'bad', waits: 'warn' }
export const state = name => badge(word(name), KINDS[name] ?? '')
