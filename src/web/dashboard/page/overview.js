// The overview: what flows, and what came of it.
import { get } from './api.js'
import { chart } from './charts.js'
import { amount, bars, card, duration, h, number, percent, show, table, word } from './dom.js'
import { listen, samples } from './flow.js'

// The targets of SPEC's KPIs, and what is measured against each.
const TARGETS = [
  { rate: 'open_rate', name: 'Open rate', one: 'opened', of: 'delivered', target: 0.30, colour: '--c0' },
  { rate: 'click_rate', name: 'Click rate', one: 'clicked', of: 'delivered', target: 0.10, colour: '--c2' },
  { rate: 'conversion_rate', name: 'Conversion', one: 'converted', of: 'decided', target: 0.05, colour: '--c3' }
]
const STREAMS = ['clickstream', 'carts', 'inventory', 'catalog', 'orders', 'profiles', 'engagement']
const KPIS_EVERY_MS = 5000
const trend = []

export function overview (main, leave) {
  const tiles = h('div', { class: 'tiles', id: 'tiles' })
  const [records, lag, kpis, trends] = [0, 1, 2, 3].map(() => h('div', {}))
  const [triggers, deliveries, decisions] = [0, 1, 2].map(() => h('div', {}))
  show(main, h('h1', {}, 'Overview'), h('div', { class: 'cards' },
    tiles,
    card('Records a second, by stream', 'half', records),
    card('How far the closed ticks are behind', 'half', lag),
    card('Trigger set, by campaign', 'third', triggers),
    card('Deliveries, by state', 'third', deliveries),
    card('Decisions', 'third', decisions),
    card('What came of the mails', '', kpis),
    card('Rates over time', '', trends)))

  const drawRecords = chart(records, {
    series: STREAMS.map((label, place) => ({ label, colour: `--c${place}` })),
    unit: value => number(value),
    describe: data => `Records a second: ${STREAMS.map((name, place) => `${name} ${number(data[place + 1].at(-1) ?? 0)}`).join(', ')}`
  })
  const drawLag = chart(lag, {
    series: [{ label: 'Behind', colour: '--c1' }],
    unit: value => duration(value * 1000),
    describe: data => `Behind the clock by ${duration((data[1].at(-1) ?? 0) * 1000)}`
  })
  const draw = () => {
    const { flow, rates } = samples.at(-1) ?? {}
    if (!flow) return
    const times = samples.map(sample => sample.clock)
    drawRecords([times, ...STREAMS.map(stream => samples.map(sample => sample.rates[stream]))])
    drawLag([times, samples.map(sample => sample.flow.lag_ms === null ? null : sample.flow.lag_ms / 1000)])
    showTiles(tiles, flow, rates)
    show(triggers, bars(Object.entries(flow.triggers), 'No campaign is configured.'))
    show(deliveries, bars(Object.entries(flow.deliveries).filter(([, count]) => count > 0).map(([name, count]) => [word(name), count]), 'Nothing is to be sent yet.'))
    const decided = flow.decisions.map(({ outcome, reason, count }) => [reason ? `${word(outcome)}: ${word(reason)}` : word(outcome), count])
    show(decisions, bars(decided, 'Nothing is decided yet.'))
  }
  draw()
  leave(listen(draw))

  const follow = followKpis(kpis, trends)
  const timer = setInterval(follow, KPIS_EVERY_MS)
  leave(() => clearInterval(timer))
}

function showTiles (place, flow, rates) {
  const rate = Object.values(rates).reduce((sum, rate) => sum + rate, 0)
  const total = Object.values(flow.records).reduce((sum, count) => sum + count, 0)
  const { bad, late, stale, duplicate } = flow.set_aside
  const open = ['pending', 'in_flight', 'unknown'].reduce((sum, name) => sum + flow.deliveries[name], 0)
  const tile = (name, figure, beside) => h('div', { class: 'tile' },
    h('div', { class: 'name' }, name), h('div', { class: 'figure' }, figure), h('div', { class: 'beside' }, beside))
  show(place,
    tile('Records a second', number(rate), `${number(total)} in all`),
    tile('Behind the clock', flow.lag_ms === null ? '–' : duration(flow.lag_ms), 'of closed ticks'),
    tile('Trigger set', number(flow.episodes), 'episodes hold'),
    tile('Open carts', number(flow.carts_open), 'with something to buy'),
    tile('Mails accepted', number(flow.deliveries.accepted), `${number(open)} not settled`),
    tile('Set aside', number(bad), `bad; ${number(late)} late, ${number(stale + duplicate)} stale or twice`))
}

function followKpis (place, trends) {
  let drawTrend
  let byDay
  const ask = async () => {
    try {
      const report = await get('/v1/kpis')
      show(place, kpiTable(report), h('p', { class: 'soft small' }, `As of ${report.as_of}. A day's and a campaign's rates are of the decisions made then, whenever what came of them came.`))
      trend.push([Date.now() / 1000, ...TARGETS.map(target => rateOf(figuresOf(report.campaigns), target))])
      if (trend.length > 720) trend.shift()
      const days = daysOf(report.campaigns)
      // Of one or two days there is no trend: then what was seen since the page was opened.
      const isByDay = days.length > 0 && days[0].length > 2
      if (!drawTrend || byDay !== isByDay) {
        byDay = isByDay
        drawTrend = trendChart(trends, byDay)
      }
      drawTrend(byDay ? days : transposed(trend))
    } catch (fault) {
      show(place, h('p', { class: 'fault', role: 'alert' }, fault.message))
    }
  }
  ask()
  return ask
}

// The sends of all arms together, those held out apart.
function figuresOf (campaigns) {
  const arms = campaigns.flatMap(campaign => campaign.arms).filter(arm => arm.arm !== 'holdout')
  return sum(arms)
}

function sum (figures) {
  const names = ['decided', 'sent', 'delivered', 'opened', 'clicked', 'converted', 'bounced', 'complained', 'unsubscribed']
  const total = Object.fromEntries(names.map(name => [name, figures.reduce((sum, it) => sum + it[name], 0)]))
  return { ...total, revenue: figures.reduce((sum, it) => sum + Number(it.revenue), 0) }
}

const rateOf = (figures, { one, of }) => figures[of] > 0 ? figures[one] / figures[of] : null

function kpiTable (report) {
  const rows = report.campaigns.map(campaign => ({ name: campaign.campaign, ...sum(campaign.arms.filter(arm => arm.arm !== 'holdout')) }))
  if (rows.length > 1) rows.push({ name: 'All', ...figuresOf(report.campaigns) })
  const rate = target => [`${target.name} (> ${percent(target.target, 0)})`, row => meter(rateOf(row, target), target)]
  return table([
    ['Campaign', row => row.name, 'head'],
    ['Sent', row => number(row.sent), 'number'],
    ['Delivered', row => number(row.delivered), 'number'],
    ...TARGETS.map(rate),
    ['Unsubscribed', row => number(row.unsubscribed), 'number'],
    ['Bounced', row => number(row.bounced), 'number'],
    ['Revenue', row => amount(row.revenue), 'number']
  ], rows, 'No campaign is configured.')
}

// A rate beside its target; as far as three times that.
function meter (rate, { target, name }) {
  if (rate === null) return h('span', { class: 'soft' }, '–')
  const most = target * 3
  const reached = rate > target
  const mark = h('i', {})
  mark.style.left = `${100 / 3}%`
  return h('span', { title: `${name} ${percent(rate)}; the target is ${percent(target, 0)}` },
    h('span', { class: 'meter', 'aria-hidden': 'true' }, h('span', { width: Math.min(rate / most, 1), class: reached ? 'reached' : null }), mark),
    percent(rate), ' ', h('span', { class: 'soft small' }, reached ? 'reached' : 'below'))
}

function daysOf (campaigns) {
  const arms = campaigns.flatMap(campaign => campaign.arms).filter(arm => arm.arm !== 'holdout')
  const days = [...new Set(arms.flatMap(arm => arm.days.map(day => day.day)))].sort()
  const of = day => sum(arms.flatMap(arm => arm.days.filter(it => it.day === day)))
  return days.length === 0 ? [] : transposed(days.map(day => [Date.parse(day) / 1000, ...TARGETS.map(target => rateOf(of(day), target))]))
}

const transposed = rows => rows[0].map((_, column) => rows.map(row => row[column]))

function trendChart (place, days) {
  const box = h('div', {})
  show(place, h('p', { class: 'soft small' }, days ? 'By the day of the decision, in UTC.' : 'Since this page was opened.', ' Dashed: the targets.'), box)
  const draw = chart(box, {
    series: [...TARGETS.map(({ name, colour }) => ({ label: name, colour })), ...TARGETS.map(({ name, colour }) => ({ label: `${name}, target`, colour, dash: [6, 6] }))],
    unit: value => percent(value),
    days,
    describe: data => TARGETS.map(({ name, target }, place) => `${name} ${percent(data[place + 1].at(-1))}, target ${percent(target, 0)}`).join('; ')
  })
  return data => draw([...data, ...TARGETS.map(({ target }) => data[0].map(() => target))])
}
