// Dead letters: records that could not be used, each to be corrected and said again.
import { get, post } from './api.js'
import { badge, card, decisionLink, facts, h, moment, number, show, word } from './dom.js'

export async function letters (main) {
  const place = h('div', {}, h('p', { class: 'soft' }, 'Reading …'))
  show(main, h('div', { class: 'row apart' }, h('h1', {}, 'Dead letters'), h('button', { type: 'button', class: 'quiet', on: { click: () => letters(main) } }, 'Read again')),
    h('p', { class: 'soft' }, 'Records that could not be used. Nothing else was lost with them. Corrected, one can be said again: it goes to its stream\'s topic, and takes effect from there.'), place)
  try {
    const told = await get('/v1/letters')
    const shown = told.count > told.letters.length ? `The newest ${told.letters.length} of ${number(told.count)}` : `${number(told.count)} in all`
    show(place, card(shown, '', told.letters.length > 0 ? told.letters.map(letter) : h('p', { class: 'empty' }, 'There are none.')))
  } catch (fault) {
    show(place, h('p', { class: 'fault', role: 'alert' }, fault.message))
  }
}

function letter (told) {
  const body = h('div', {})
  const open = async event => {
    if (event.currentTarget.open && body.childElementCount === 0) await fill(body, told.id)
  }
  return h('details', { class: 'letter', on: { toggle: open } },
    h('summary', {}, badge(told.stream ?? 'delivery'), ' ', told.replayed_at ? badge('said again', 'good') : badge(word(told.kind), 'warn'), ' ', told.reason),
    body)
}

async function fill (body, id) {
  try {
    const told = await get(`/v1/letters/${id}`)
    show(body, place(told), told.can_replay ? again(body, told) : unanswered(told))
  } catch (fault) {
    show(body, h('p', { class: 'fault', role: 'alert' }, fault.message))
  }
}

function place (told) {
  return facts([
    ['Where', told.offset === undefined ? null : `${told.stream}, partition ${told.partition}, offset ${told.offset}`],
    ['From the key', told.key],
    ['Received', told.received_at ? moment(new Date(told.received_at).toISOString()) : null],
    ['Said again', moment(told.replayed_at)]
  ])
}

function unanswered (told) {
  return told.decision ? h('p', {}, 'The mail of ', decisionLink(told.decision.decision_id), '. A mail is not sent again from here: nobody knows whether it was taken.') : null
}

// The record, to be corrected, and what came of saying it again.
function again (body, told) {
  const record = h('textarea', { 'aria-label': 'The record', spellcheck: 'false' })
  record.value = told.record
  record.readOnly = told.replayed_at !== null
  const said = h('p', { role: 'status' })
  const send = async () => {
    button.disabled = true
    try {
      await post(`/v1/letters/${told.id}/replay`, record.value)
      show(said, badge('said again', 'good'))
      record.readOnly = true
    } catch (fault) {
      button.disabled = false
      show(said, h('span', { class: 'fault' }, fault.reason ?? fault.message))
    }
  }
  const button = h('button', { type: 'button', disabled: told.replayed_at !== null, on: { click: send } }, 'Say again')
  return [h('h3', {}, 'The record'), record, h('div', { class: 'row' }, button, said)]
}
