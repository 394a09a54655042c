// The page: which part of it is shown, whether all is well, and signing in.
import { hasToken, setToken } from './api.js'
import { customer, customers } from './customer.js'
import { decision } from './decision.js'
import { duration, h, show } from './dom.js'
import { experiments } from './experiments.js'
import { listen, start } from './flow.js'
import { letters } from './letters.js'
import { overview } from './overview.js'
import { triggers } from './triggers.js'

const VIEWS = [
  [/^\/?$/, overview, 'Overview'],
  [/^\/experiments$/, experiments, 'Experiments'],
  [/^\/customers$/, customers, 'Customers'],
  [/^\/customers\/(.+)$/, customer, 'Customer'],
  [/^\/decisions\/(.+)$/, decision, 'Decision'],
  [/^\/triggers$/, triggers, 'Trigger set'],
  [/^\/letters$/, letters, 'Dead letters']
]

const main = document.getElementById('main')
const status = document.getElementById('status')
const statusText = document.getElementById('status-text')
const sign = document.getElementById('sign')
const dialog = document.getElementById('signing')
const field = document.getElementById('token')
let left = []

// Shows the view that the address names; what the one before had running ends.
function route () {
  left.forEach(leave => leave())
  left = []
  const path = location.hash.slice(1)
  const [pattern, view, title] = VIEWS.find(([pattern]) => pattern.test(path)) ?? VIEWS[0]
  document.title = `${title} – Beckon`
  const here = path.split('/').slice(0, 2).join('/') || '/'
  for (const link of document.querySelectorAll('nav a')) {
    const target = link.getAttribute('href').slice(1)
    if (target === here) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  view(main, leave => left.push(leave), decoded(pattern.exec(path)?.[1]))
  scrollTo(0, 0)
}

function decoded (text) {
  try { return text && decodeURIComponent(text) } catch { return text }
}

function begin () {
  sign.textContent = hasToken() ? 'Sign out' : 'Sign in'
  start(fault => {
    status.className = `status ${fault ? 'away' : 'live'}`
    if (fault) statusText.textContent = fault.message
    if (fault?.status === 401) askForToken(hasToken() ? 'This is not the token.' : '')
  })
  route()
}

function askForToken (fault) {
  document.getElementById('signing-fault').textContent = fault
  field.value = ''
  if (!dialog.open) dialog.showModal()
  field.focus()
}

listen(({ flow }) => {
  const behind = flow.lag_ms === null ? 'no tick is closed yet' : `${duration(flow.lag_ms)} behind`
  show(statusText, flow.as_of.slice(0, 19).replace('T', ' '), ' UTC, ', behind)
})

sign.addEventListener('click', () => {
  if (!hasToken()) return askForToken('')
  setToken('')
  begin()
})
dialog.querySelector('form').addEventListener('submit', () => {
  setToken(field.value)
  begin()
})
document.getElementById('signing-cancel').addEventListener('click', () => dialog.close())
document.getElementById('skip').addEventListener('click', event => {
  event.preventDefault()
  main.focus()
})
addEventListener('hashchange', () => {
  route()
  main.focus({ preventScroll: true })
})
// A slash leads to a customer, as long as nothing is being written.
addEventListener('keydown', event => {
  const writes = event.target.closest?.('input, textarea, select, dialog')
  if (event.key === '/' && !writes && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault()
    location.hash = '#/customers'
  }
})

// A link of the demo brings the token in the fragment, which no server sees; it does not stay in the address.
const brought = /^#token=([^&]+)$/.exec(location.hash)
if (brought) {
  setToken(decodeURIComponent(brought[1]))
  history.replaceState(null, '', '#/')
}
show(main, h('p', { class: 'soft' }, 'Connecting …'))
begin()
