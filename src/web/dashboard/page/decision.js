// A decision: what it was made of, what the gates answered, what became of its mail, and the mail.
import { get } from './api.js'
import { amount, badge, card, customerLink, facts, h, moment, number, show, state, table, word } from './dom.js'

export async function decision (main, leave, id) {
  const place = h('div', {}, h('p', { class: 'soft' }, 'Reading …'))
  show(main, h('h1', {}, 'Decision ', h('span', { class: 'mono' }, id)), place)
  try {
    const told = await get(`/v1/decisions/${encodeURIComponent(id)}`)
    const framed = told.mail ? await get(`/v1/decisions/${encodeURIComponent(id)}/mail`) : null
    show(place, page(told, framed))
  } catch (fault) {
    const text = fault.status === 404 ? 'There is no such decision.' : fault.message
    show(place, h('p', { class: 'fault', role: 'alert' }, text))
  }
}

function page (told, framed) {
  const { decision } = told
  return [
    h('p', {}, state(decision.outcome), ' ', decision.campaign, ' to ', customerLink(decision.customer_id), decision.reason ? `: ${word(decision.reason)}` : '', decision.variant ? `, variant ${decision.variant}` : ''),
    h('div', { class: 'cards' },
      card('What was decided', 'half', about(told)),
      card('What became of it', 'half', delivery(told)),
      card('The proof: what each gate answered', '', gates(told.gates)),
      card('What it speaks of', '', payload(decision.payload)),
      card('The mail as it was sent', '', framed ? mail(framed) : h('p', { class: 'empty' }, noMail(told))),
      card('The records that made it', '', records(decision)))
  ]
}

function about ({ decision, as_of: asOf }) {
  return facts([
    ['Customer', customerLink(decision.customer_id)],
    ['Campaign', decision.campaign],
    ['Trigger', word(decision.trigger)],
    ['About', decision.subject],
    ['Began', moment(decision.anchor)],
    ['Decided at', moment(decision.as_of)],
    ['Variant', decision.variant],
    ['This answer is as of', moment(asOf)]
  ])
}

function delivery ({ decision, delivery, holds }) {
  if (!delivery) return h('p', { class: 'empty' }, decision.outcome === 'holdout' ? 'Held out: no mail, so that the others can be measured.' : 'Suppressed: no mail.')
  return facts([
    ['Delivery', state(delivery.state)],
    ['Since', moment(delivery.since)],
    ['Attempts', number(delivery.attempts)],
    ['Note', delivery.note],
    ['Waits for', delivery.awaits_webhook ? 'the webhook of the e-mail service' : null],
    ['Its condition', holds === null ? null : holds ? badge('still holds', 'good') : badge('holds no more')]
  ])
}

function gates (rows) {
  if (!rows) return h('p', { class: 'empty' }, 'It was not kept: the decision is older than that, or its customer is erased.')
  return table([
    ['Gate', row => word(row.gate), 'head'],
    ['Answer', row => state(row.answer)],
    ['Why', row => row.why, 'wide'],
    ['Asked at', row => moment(row.as_of)]
  ], rows)
}

function payload ({ lines, similar, discount }) {
  const columns = [
    ['Product', line => [line.name ?? line.sku, ' ', h('span', { class: 'soft mono' }, line.name ? line.sku : '')], 'head'],
    ['Quantity', line => line.quantity === undefined ? '–' : number(line.quantity), 'number'],
    ['Price', line => line.price === undefined ? '–' : amount(line.price), 'number'],
    ['In stock', line => line.on_hand === undefined ? '–' : number(line.on_hand), 'number']
  ]
  return [
    table(columns, lines, 'No product.'),
    discount && h('p', {}, 'Discount: ', badge(`${discount.percent} %`, 'good')),
    similar?.length > 0 && [h('h3', {}, 'Similar'), table(columns, similar)]
  ]
}

function noMail ({ delivery }) {
  if (!delivery) return 'There is none.'
  return delivery.state === 'accepted' ? 'It is not kept any more.' : 'None was sent.'
}

// Three views of it. The HTML stands in a frame that can do nothing: no script, no picture, no way out.
function mail ({ mail, page }) {
  const head = facts([['From', mail.from], ['To', mail.to], ['Subject', mail.subject], ['Made', moment(new Date(mail.made_ms).toISOString())]])
  const frame = h('iframe', { sandbox: '', src: page, title: 'The mail as it was sent', referrerpolicy: 'no-referrer' })
  const views = [['Mail', frame], ['Text', h('pre', {}, mail.text)], ['HTML', h('pre', {}, mail.html)]]
  const box = h('div', { role: 'tabpanel' })
  const tabs = views.map(([name, view]) => h('button', { type: 'button', role: 'tab', on: { click: event => choose(event.currentTarget, view) } }, name))
  const choose = (tab, view) => {
    tabs.forEach(other => other.setAttribute('aria-selected', other === tab))
    show(box, view)
  }
  choose(tabs[0], frame)
  return [head, h('h3', {}), h('div', { role: 'tablist', 'aria-label': 'Views of the mail' }, tabs), box,
    h('p', { class: 'soft small' }, 'Pictures are not loaded, and links lead nowhere: to look at it here is no open and no click.')]
}

function records (decision) {
  return [
    h('p', { class: 'soft small' }, 'Beckon can show the least of the log that gives this very decision, and without any record of which it would be another:'),
    h('pre', {}, `beckon explain ${decision.decision_id} --kafka --config beckon.toml`)
  ]
}
