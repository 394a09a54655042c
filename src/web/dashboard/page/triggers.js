// The trigger set: the episodes that hold now, by campaign, a page at a time.
import { get } from './api.js'
import { customerLink, decisionLink, h, moment, number, show, table } from './dom.js'

const PAGE = 50

export function triggers (main) {
  const campaign = h('select', { 'aria-label': 'Campaign', on: { change: () => begin() } }, h('option', { value: '' }, 'All campaigns'))
  const [summary, place] = [h('p', { class: 'soft', role: 'status' }), h('div', { class: 'card' })]
  const more = h('button', { type: 'button', class: 'quiet', hidden: true, on: { click: () => page() } }, 'More')
  show(main, h('h1', {}, 'Trigger set'), h('div', { class: 'search' }, campaign), summary, place, h('p', {}, more))
  let [rows, next] = [[], null]

  const page = async () => {
    try {
      const query = new URLSearchParams({ limit: PAGE, ...(campaign.value && { campaign: campaign.value }), ...(next && { after: next }) })
      const told = await get(`/v1/triggers?${query}`)
      if (campaign.options.length === 1) campaign.append(...Object.keys(told.counts).map(name => h('option', { value: name }, name)))
      rows = rows.concat(told.episodes)
      next = told.next
      more.hidden = !next
      const counts = Object.entries(told.counts).map(([name, count]) => `${name} ${number(count)}`).join(', ')
      show(summary, `${counts}. As of `, moment(told.as_of), '.')
      show(place, list(rows))
    } catch (fault) {
      show(place, h('p', { class: 'fault', role: 'alert' }, fault.message))
    }
  }
  const begin = () => {
    [rows, next] = [[], null]
    return page()
  }
  begin()
}

function list (episodes) {
  return table([
    ['Campaign', episode => episode.campaign, 'head'],
    ['Customer', episode => customerLink(episode.customer_id)],
    ['About', episode => episode.subject],
    ['Began', episode => moment(episode.anchor)],
    ['Decision', episode => decisionLink(episode.decision_id)]
  ], episodes, 'No episode holds at the moment.')
}
