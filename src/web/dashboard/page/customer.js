// A customer: who they are, what they have in their carts, what was decided about them and why.
import { get } from './api.js'
import { amount, badge, card, decisionLink, facts, h, moment, number, show, state, table, word } from './dom.js'

export function customers (main) {
  show(main, h('h1', {}, 'Customers'), search(''), h('p', { class: 'soft' }, 'By the shop\'s id of a user or of a visitor.'))
  main.querySelector('input').focus()
}

function search (id) {
  const field = h('input', { type: 'search', 'aria-label': 'Customer id', placeholder: 'Customer id', value: id, autocomplete: 'off', spellcheck: 'false', required: true })
  const go = event => {
    event.preventDefault()
    location.hash = `#/customers/${encodeURIComponent(field.value.trim())}`
  }
  return h('form', { class: 'search', role: 'search', on: { submit: go } }, field, h('button', { type: 'submit' }, 'Show'))
}

export async function customer (main, leave, id) {
  const place = h('div', {}, h('p', { class: 'soft' }, 'Reading …'))
  show(main, search(id), h('h1', {}, id), place)
  try {
    const told = await get(`/v1/customers/${encodeURIComponent(id)}`)
    show(place, told ? page(told) : null)
  } catch (fault) {
    const text = fault.status === 404 ? 'Nothing is known of this customer.' : fault.message
    show(place, h('p', { class: 'fault', role: 'alert' }, text))
  }
}

function page (told) {
  return [
    h('p', { class: 'soft' }, 'As of the closed tick ', moment(told.as_of), '.'),
    h('div', { class: 'cards' },
      card('Who', 'half', who(told)),
      card('Bought', 'half', bought(told.history), attributes(told.profile)),
      card('Open carts', '', told.carts.length > 0 ? told.carts.map(cart) : h('p', { class: 'empty' }, 'None with anything still to be bought.')),
      told.waiting.length > 0 && card('Waits', '', waiting(told.waiting)),
      card('What happened', 'half', timeline(told)),
      card('Decisions, and why', 'half', decisions(told.decisions)))
  ]
}

function who (told) {
  const profile = told.profile
  if (!profile) return [facts([['Kind', told.kind], ['Alias of', told.alias_of]]), h('p', { class: 'empty' }, 'There is no profile.')]
  const may = profile.erased ? badge('erased', 'bad') : profile.withheld ? badge('withheld: unsubscribed, complained or bounced', 'bad') : profile.consent ? badge('consents', 'good') : badge('does not consent', 'warn')
  return facts([
    ['Kind', told.kind],
    ['E-mail', profile.email],
    ['First name', profile.first_name],
    ['May be written to', may],
    ['Declines', profile.declined.join(', ')],
    ['Language', profile.locale],
    ['Time zone', profile.timezone],
    ['Alias of', told.alias_of],
    ['Also known as', told.aliases.join(', ')]
  ])
}

function bought (history) {
  return facts([['Orders', number(history.orders)], ['Sum', amount(history.total)], ['Last order', moment(history.last_order_at)]])
}

function attributes (profile) {
  if (!profile?.attributes || Object.keys(profile.attributes).length === 0) return null
  const text = value => typeof value === 'string' ? value : JSON.stringify(value)
  return [h('h3', {}, 'Attributes'), facts(Object.entries(profile.attributes).map(([name, value]) => [name, text(value)]))]
}

function cart (cart) {
  const money = price => price === null ? '–' : `${amount(price)} ${cart.currency ?? ''}`
  return [
    h('h3', {}, cart.cart_id ?? 'Their own cart', ' ', h('span', { class: 'soft small' }, 'changed ', moment(cart.changed_at))),
    table([
      ['Product', line => [line.name ?? line.sku, ' ', h('span', { class: 'soft mono' }, line.name ? line.sku : '')], 'head'],
      ['Quantity', line => number(line.quantity), 'number'],
      ['Price', line => money(line.price), 'number'],
      ['Price now', line => money(line.price_now), 'number'],
      ['In stock', line => line.on_hand > 0 ? number(line.on_hand) : badge('sold out', 'bad'), 'number']
    ], cart.lines)
  ]
}

function waiting (episodes) {
  return [h('p', { class: 'soft small' }, 'Holds, and waits for the end of the customer\'s quiet hours.'), table([
    ['Campaign', episode => episode.campaign, 'head'],
    ['About', episode => episode.subject],
    ['Since', episode => moment(episode.anchor)]
  ], episodes)]
}

// All that has a time, the newest first.
function timeline (told) {
  const happened = [
    ...told.decisions.map(it => ({ at: it.as_of, kind: it.outcome, said: ['Decided: ', word(it.outcome), ' ', it.campaign, it.reason ? `, ${word(it.reason)}` : '', '. ', decisionLink(it.decision_id)] })),
    ...told.decisions.filter(it => it.delivery).map(it => ({ at: it.delivery.since, kind: it.delivery.state === 'accepted' ? 'send' : 'suppress', said: ['Mail of ', it.campaign, ': ', word(it.delivery.state), '.'] })),
    ...told.carts.map(it => ({ at: it.changed_at, kind: 'cart', said: [it.cart_id ? `Cart ${it.cart_id}` : 'Their own cart', ' changed.'] })),
    ...(told.history.last_order_at ? [{ at: told.history.last_order_at, kind: 'cart', said: ['Ordered, the last time.'] }] : [])
  ]
  happened.sort((one, other) => Date.parse(other.at) - Date.parse(one.at))
  if (happened.length === 0) return h('p', { class: 'empty' }, 'Nothing yet.')
  return h('ol', { class: 'timeline' }, happened.slice(0, 60).map(({ at, kind, said }) =>
    h('li', { class: kind }, h('div', { class: 'soft small' }, moment(at)), said)))
}

function decisions (rows) {
  return table([
    ['Decision', row => decisionLink(row.decision_id, row.campaign), 'head'],
    ['Outcome', row => state(row.outcome)],
    ['Why', row => row.why ?? word(row.reason ?? ''), 'wide']
  ], rows, 'Nothing was decided about them.')
}
