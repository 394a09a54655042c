// Experiments: each campaign's arms beside those held out, with what may be believed of the difference.
import { get } from './api.js'
import { amount, badge, card, h, number, percent, s, show, table } from './dom.js'

const EVERY_MS = 5000

export function experiments (main, leave) {
  const place = h('div', { class: 'cards' })
  show(main, h('h1', {}, 'Experiments'), h('p', { class: 'soft' },
    'What the mails changed, beside customers who got none. Look as often as you like, and then go by the interval for any time: ',
    'the other one is true of a single look.'), place)
  const ask = async () => {
    try {
      const report = await get('/v1/kpis')
      show(place, report.campaigns.map(campaignCard))
    } catch (fault) {
      show(place, h('p', { class: 'fault', role: 'alert' }, fault.message))
    }
  }
  ask()
  const timer = setInterval(ask, EVERY_MS)
  leave(() => clearInterval(timer))
}

function campaignCard (campaign) {
  const arms = table([
    ['Arm', arm => arm.arm, 'head'],
    ['Customers', arm => number(arm.decided), 'number'],
    ['Sent', arm => number(arm.sent), 'number'],
    ['Opened', arm => percent(arm.open_rate), 'number'],
    ['Clicked', arm => percent(arm.click_rate), 'number'],
    ['Converted', arm => percent(arm.conversion_rate), 'number'],
    ['Revenue a customer', arm => arm.revenue_per_decided === null ? '–' : amount(arm.revenue_per_decided), 'number']
  ], campaign.arms, 'Nothing is decided yet.')
  const against = campaign.against_holdout.flatMap(row => [
    { ...row, of: 'Conversion', compared: row.conversion, show: value => `${(value * 100).toFixed(1)} pp`, mean: value => percent(value) },
    { ...row, of: 'Revenue a customer', compared: row.revenue, show: value => amount(value), mean: value => amount(value) }
  ])
  return card(campaign.campaign, '', sizes(campaign.sample_ratio), arms,
    against.length > 0 && [h('h3', {}, 'Beside those held out'), comparison(against)],
    against.length === 0 && h('p', { class: 'soft small' }, 'Nobody is held out of this campaign: there is nothing to compare its mails with.'))
}

// Whether the arms are as large as they should be.
function sizes (ratio) {
  if (!ratio) return null
  const [text, kind] = ratio.is_mismatch
    ? ['The arms have not the sizes that are configured: believe nothing of it', 'bad']
    : ['The arms have the sizes that are configured', 'good']
  return h('p', {}, badge(text, kind), ' ', h('span', { class: 'soft small' }, `p = ${ratio.p.toPrecision(2)}`))
}

function comparison (rows) {
  return table([
    ['', row => `${row.of}, ${row.arm}`, 'head'],
    ['Treated', row => `${row.mean(row.compared.treated.mean)} of ${number(row.compared.treated.n)}`, 'number'],
    ['Held out', row => `${row.mean(row.compared.control.mean)} of ${number(row.compared.control.n)}`, 'number'],
    ['Lift', row => lift(row), 'number'],
    ['95 % interval: one look (thick), any time (thin)', row => interval(row)],
    ['p, one look', row => p(row.compared.test), 'number'],
    ['p, any time', row => p(row.compared.anytime), 'number']
  ], rows)
}

function lift ({ compared, show }) {
  if (!compared.absolute) return '–'
  const sign = value => (value > 0 ? '+' : '')
  const { estimate } = compared.absolute
  const relative = compared.relative ? ` (${sign(compared.relative.estimate)}${percent(compared.relative.estimate, 0)})` : ''
  return [`${sign(estimate)}${show(estimate)}${relative}`, ' ', compared.is_sparse && badge('too few', 'warn')]
}

const p = test => test ? (test.p < 0.001 ? '< 0.001' : test.p.toFixed(3)) : '–'

// The two intervals around the lift, and nothing in the middle of them: zero.
function interval ({ compared, show }) {
  const now = compared.absolute?.interval
  const ever = compared.anytime?.interval
  if (!now && !ever) return h('span', { class: 'soft' }, 'Too few yet.')
  const ends = [now, ever].filter(Boolean).flatMap(it => [Math.abs(it.low), Math.abs(it.high)])
  const most = Math.max(...ends) * 1.08 || 1
  const x = value => 150 + value / most * 145
  const line = (it, kind) => it && s('line', { class: kind, x1: x(it.low), x2: x(it.high), y1: 14, y2: 14 })
  const text = it => it ? `${show(it.low)} to ${show(it.high)}` : 'unknown'
  const told = `One look: ${text(now)}. Any time: ${text(ever)}.`
  return h('div', {},
    s('svg', { class: 'interval', viewBox: '0 0 300 28', preserveAspectRatio: 'none', role: 'img', 'aria-label': told },
      s('line', { class: 'axis', x1: 0, x2: 300, y1: 14, y2: 14 }), s('line', { class: 'zero', x1: 150, x2: 150, y1: 0, y2: 28 }),
      line(ever, 'ever'), line(now, 'now'), s('circle', { class: 'point', cx: x(compared.absolute.estimate), cy: 14, r: 3 })),
    h('span', { class: 'soft small' }, text(now), '; any time ', text(ever)))
}
