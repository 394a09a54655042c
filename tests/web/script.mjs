// A browser as far as beckon.js knows one. In: where the collector is, and a key. Out: as JSON, what the page saw. The collector has the rest.
import vm from 'node:vm'

const [base, key] = process.argv.slice(2)
const source = await (await fetch(base + '/beckon.js')).text()

// A tab of the shop; tabs with the same `disk` share what is stored.
function tab (disk, { storage = true, failing = [], before, page } = {}) {
  const listeners = {}
  const listen = (name, heard) => { (listeners[name] ||= []).push(heard) }
  const sent = []
  const attributes = { 'data-write-key': key, 'data-page': page }
  const document = {
    currentScript: { src: base + '/beckon.js', getAttribute: name => attributes[name] ?? null },
    get cookie () { return Object.entries(disk.cookies).map(pair => pair.join('=')).join('; ') },
    set cookie (text) {
      const [name, value] = text.split(';')[0].split('=')
      if (text.includes('Max-Age=0')) delete disk.cookies[name]
      else disk.cookies[name] = value
    },
    title: 'Home',
    referrer: '',
    visibilityState: 'visible',
    addEventListener: listen
  }
  const localStorage = {
    getItem: name => disk.stored[name] ?? null,
    setItem: (name, value) => { disk.stored[name] = value },
    removeItem: name => { delete disk.stored[name] }
  }
  const window = {
    beckon: before,
    get localStorage () { if (storage) return localStorage; throw new Error('forbidden') },
    crypto: globalThis.crypto,
    location: { href: 'https://shop.example/?a=1', pathname: '/', protocol: 'https:' },
    navigator: { sendBeacon: (url, body) => { sent.push({ beacon: fetch(url, { method: 'POST', body }), body }); return true } },
    setTimeout: (then, ms) => setTimeout(then, Math.min(ms, 20)),
    clearTimeout,
    fetch: (url, request) => {
      sent.push({ body: request.body })
      const failure = failing.shift()
      if (failure === 'network') return Promise.reject(new TypeError('away'))
      if (failure) return Promise.resolve(new Response('{}', { status: failure }))
      return fetch(url, request)
    },
    addEventListener: listen
  }
  vm.runInNewContext(source, { window, document, URL, JSON, Date, Math, Object, Array, Number, String, Uint8Array })
  return { beckon: window.beckon, sent, hear: name => listeners[name].forEach(heard => heard()) }
}

const disk = () => ({ cookies: {}, stored: {} })
async function until (what, holds) {
  for (let tried = 0; !holds(); tried++) {
    if (tried > 500) throw new Error('never: ' + what)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}
const empty = on => () => on.stored.beckon_queue === undefined
const ids = sent => sent.flatMap(one => JSON.parse(one.body).batch).map(message => message.messageId)

// Calls from before it was loaded, a visitor who becomes a customer, and one who comes after them.
const shop = disk()
const first = tab(shop, { before: [['track', 'Product Viewed', { sku: 's0' }]] })
first.beckon.identify('u1', { first_name: 'Ada' })
first.beckon.track('Product Added', { sku: 's1', price: '19.90' })
const visitor = first.beckon.anonymousId()
await until('sent', empty(shop))
first.beckon.alias('u2', 'u1')
first.beckon.reset()
first.beckon.track('Product Viewed', { sku: 's2' })
const next = first.beckon.anonymousId()
await until('sent', empty(shop))

// The network is away, then the server is: sent again until it is taken, and what is refused is not.
const poor = disk()
const second = tab(poor, { failing: ['network', 503, 429], page: 'off' })
second.beckon.track('Retried')
await until('sent again', empty(poor))
const refused = disk()
const third = tab(refused, { failing: [400], page: 'off' })
third.beckon.track('Refused')
await until('given up', empty(refused))

// A page that is left at once; a tab that finds what another could not send; a browser that lets nothing be stored.
const left = disk()
const fourth = tab(left, { page: 'off' })
fourth.beckon.track('Left')
fourth.hear('pagehide')
await Promise.all(fourth.sent.map(one => one.beacon))
const found = disk()
const fifth = tab(found, { failing: Array(1000).fill('network'), page: 'off' })
fifth.beckon.track('Found')
await until('tried', () => fifth.sent.length > 1)
const sixth = tab(found, { page: 'off' })
await until('found', () => empty(found)() && sixth.sent.length > 0)
const none = disk()
const seventh = tab(none, { storage: false, page: 'off' })
seventh.beckon.track('Forbidden')
await until('sent', () => seventh.sent.length > 0)
await new Promise(resolve => setTimeout(resolve, 300))

// More at once than one batch may have.
const many = disk()
const eighth = tab(many, { page: 'off' })
for (let number = 0; number < 120; number++) eighth.beckon.track('Many', { text: 'x'.repeat(200) })
await until('sent', empty(many))

console.log(JSON.stringify({
  visitor,
  next,
  tries: second.sent.length,
  retried: new Set(ids(second.sent)).size,
  refusals: third.sent.length,
  left: left.stored.beckon_queue === undefined,
  forbidden: seventh.sent.length,
  batches: eighth.sent.map(one => one.body.length)
}))
process.exit(0)
