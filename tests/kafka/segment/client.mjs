// A shop's server with Segment's own library for Node. In: where to send, and the write key. Out: the ids of its messages, one a line.
import { Analytics } from '@segment/analytics-node'

const [host, writeKey] = process.argv.slice(2)
const analytics = new Analytics({ host, writeKey, flushAt: 3, maxRetries: 3 })
const failed = error => { console.error(error); process.exitCode = 1 }
analytics.on('error', failed)
analytics.on('http_request', ({ body }) => JSON.parse(body).batch.forEach(message => console.log(message.messageId)))

const userId = 'node-user'
analytics.identify({
  userId,
  anonymousId: 'node-visitor',
  traits: { email: 'node@example.com', firstName: 'Node', consent: { email: true }, tier: 'gold' }
})
analytics.page({ anonymousId: 'node-visitor', name: 'Home', properties: { url: 'https://shop.example/' } })
analytics.screen({ userId, name: 'Cart' })
analytics.alias({ userId, previousId: 'node-user-of-old' })
analytics.group({ userId, groupId: 'g1', traits: { name: 'Group' } })
analytics.track({ userId, event: 'Product Added', properties: { cart_id: 'node-cart', sku: 'NODE-1', price: 19.9, quantity: 2 } })
await analytics.closeAndFlush()
