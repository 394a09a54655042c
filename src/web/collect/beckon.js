// beckon.js: tells a shop's events to Beckon. In: calls of the page. Out: batches to `/v1/batch` of the host that this file came from.
//
//   <script async src="https://collect.shop.example/beckon.js" data-write-key="…"></script>
//
// Every page is told by itself (`data-page="off"` leaves that to the page), everything else by calls:
//
//   beckon.track('Product Viewed', { sku: 's1', price: '19.90' })
//   beckon.identify('u1', { first_name: 'Ada' })    links what this visitor did to that customer
//   beckon.alias('u1', 'u1-old')                    two ids are one customer
//   beckon.page('Checkout')                         a page that came without loading
//   beckon.reset()                                  somebody else from here on, such as after a sign-out
//
// A message is kept in localStorage until it is acknowledged, so it survives a page that is left and a network that is away. Sent twice it
// counts once, by its messageId. When the page goes away, what is left goes out by sendBeacon.
(function (window, document) {
  'use strict'

  var script = document.currentScript
  if (!script) return // A module, or put in by hand: then nobody says which host and key.
  var key = script.getAttribute('data-write-key')
  var url = new URL('/v1/batch', script.src).href

  var FLUSH_AFTER_MS = 1000 // How long a message waits for others.
  var BATCH_MAX = 50 // Messages in a batch.
  var BATCH_CHARS_MAX = 16000 // Below what a beacon may have, 64 KiB, in any script.
  var KEPT_MAX = 500 // Messages kept; of more the oldest are dropped.
  var AGAIN_AFTER_MS = 1000 // The first wait after a failure; it doubles, up to a minute.
  var AGAIN_AFTER_MS_MAX = 60000

  // localStorage, or where that is forbidden memory for as long as the page lives.
  var memory = {}
  function load(name) {
    try { return window.localStorage.getItem(name) } catch (_) { return memory[name] || null }
  }
  function store(name, value) {
    memory[name] = value
    try {
      if (value === null) window.localStorage.removeItem(name)
      else window.localStorage.setItem(name, value)
    } catch (_) { /* Kept in memory. */ }
  }

  // Cookies outlive localStorage in some browsers, and the server's pixel reads the same one.
  function cookie(name) {
    var found = document.cookie.match('(?:^|; )' + name + '=([^;]*)')
    return found && found[1]
  }
  function setCookie(name, value, seconds) {
    var secure = window.location.protocol === 'https:' ? '; Secure' : ''
    document.cookie = name + '=' + value + '; Max-Age=' + seconds + '; Path=/; SameSite=Lax' + secure
  }

  function randomId() {
    var bytes = window.crypto.getRandomValues(new Uint8Array(16))
    return Array.prototype.map.call(bytes, function (byte) { return ('0' + byte.toString(16)).slice(-2) }).join('')
  }

  function anonymousId() {
    var id = load('beckon_anonymous_id') || cookie('beckon_anonymous_id') || randomId()
    store('beckon_anonymous_id', id)
    setCookie('beckon_anonymous_id', id, 31536000)
    return id
  }

  // What is not acknowledged yet, oldest first. Read anew each time: other tabs of the shop write to it too.
  function kept() {
    try { return JSON.parse(load('beckon_queue')) || [] } catch (_) { return [] }
  }
  function keep(messages) {
    store('beckon_queue', messages.length ? JSON.stringify(messages.slice(-KEPT_MAX)) : null)
  }
  function forget(messages) {
    var ids = messages.map(function (message) { return message.messageId })
    keep(kept().filter(function (message) { return ids.indexOf(message.messageId) < 0 }))
  }

  function enqueue(message) {
    message.messageId = randomId()
    message.anonymousId = anonymousId()
    message.userId = message.userId || load('beckon_user_id') || undefined
    message.timestamp = new Date().toISOString()
    keep(kept().concat([message]))
    flushIn(FLUSH_AFTER_MS)
  }

  // The oldest messages that make one batch.
  function batch(messages) {
    var chars = 0
    var count = 0
    while (count < Math.min(messages.length, BATCH_MAX)) {
      chars += JSON.stringify(messages[count]).length
      if (count > 0 && chars > BATCH_CHARS_MAX) break
      count += 1
    }
    return messages.slice(0, count)
  }

  // The key is in the body: a beacon has no headers of its own, and a request with none needs no leave from the server.
  function body(messages) {
    return JSON.stringify({ writeKey: key, sentAt: new Date().toISOString(), batch: messages })
  }

  var timer = null
  var sending = false
  var failures = 0

  function flushIn(ms) {
    if (timer === null && !sending) timer = window.setTimeout(flush, ms)
  }

  function flush() {
    window.clearTimeout(timer)
    timer = null
    var messages = batch(kept())
    if (sending || messages.length === 0) return
    sending = true
    // keepalive lets it end though the page does not.
    window.fetch(url, { method: 'POST', body: body(messages), keepalive: true, credentials: 'omit' })
      .then(function (answer) { return done(messages, answer) }, function () { return again(0) })
  }

  function done(messages, answer) {
    // 408, 429 and what the server could not do come again; what it refuses would be refused again.
    if (answer.status === 408 || answer.status === 429 || answer.status >= 500) {
      return again(Number(answer.headers.get('Retry-After')) * 1000 || 0)
    }
    forget(messages)
    sending = false
    failures = 0
    if (kept().length) flushIn(0)
  }

  function again(atLeastMs) {
    sending = false
    var most = Math.min(AGAIN_AFTER_MS * Math.pow(2, failures), AGAIN_AFTER_MS_MAX)
    failures += 1
    // Drawn, so that not all pages come back at once.
    flushIn(atLeastMs + Math.random() * most)
  }

  // The last moment: nothing is heard of these any more. A browser that takes none of them leaves them kept for the next page.
  function beacon() {
    for (var messages = batch(kept()); messages.length; messages = batch(kept())) {
      if (!window.navigator.sendBeacon || !window.navigator.sendBeacon(url, body(messages))) return
      forget(messages)
    }
  }
  window.addEventListener('pagehide', beacon)
  document.addEventListener('visibilitychange', function () {
    if (document.visibilityState === 'hidden') beacon()
  })

  var earlier = window.beckon // Calls that the page made before this was loaded: [['track', 'Product Viewed', {…}], …]
  var beckon = {
    track: function (event, properties) { enqueue({ type: 'track', event: event, properties: properties || {} }) },
    page: function (name, properties) {
      var where = { url: window.location.href, path: window.location.pathname, title: document.title, referrer: document.referrer }
      enqueue({ type: 'page', name: name, properties: Object.assign(where, properties) })
    },
    identify: function (userId, traits) {
      store('beckon_user_id', String(userId))
      enqueue({ type: 'identify', userId: String(userId), traits: traits || {} })
    },
    alias: function (userId, previousId) {
      enqueue({ type: 'alias', userId: String(userId), previousId: previousId ? String(previousId) : anonymousId() })
    },
    reset: function () {
      store('beckon_user_id', null)
      store('beckon_anonymous_id', null)
      setCookie('beckon_anonymous_id', '', 0)
    },
    flush: flush,
    anonymousId: anonymousId
  }
  window.beckon = beckon
  if (Array.isArray(earlier)) earlier.forEach(function (call) { if (beckon[call[0]]) beckon[call[0]].apply(beckon, call.slice(1)) })
  if (script.getAttribute('data-page') !== 'off') beckon.page()
  if (kept().length) flushIn(0)
})(window, document)
