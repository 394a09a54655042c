// What flows, as the server tells it: the last minutes of it, and whoever wants to hear of more.
import { events } from './api.js'

const KEPT = 600
export const samples = []
const listeners = new Set()
let run = 0

// Hears each sample and each change of the connection, until the function that it gives is called.
export function listen (heard) {
  listeners.add(heard)
  return () => listeners.delete(heard)
}

// Begins anew, with the token of now. A fault is null while all is well.
export function start (changed) {
  const own = ++run
  const current = heard => (...said) => own === run && heard(...said)
  events('/v1/flow', current(take), current(changed))
}

function take (flow) {
  const at = performance.now() / 1000
  const before = samples.at(-1)
  const seconds = before ? Math.max(at - before.at, 0.001) : 1
  const rates = Object.fromEntries(Object.entries(flow.records).map(([stream, count]) => {
    const last = before?.flow.records[stream]
    return [stream, last === undefined ? null : Math.max(0, count - last) / seconds]
  }))
  samples.push({ at, clock: Date.now() / 1000, flow, rates })
  if (samples.length > KEPT) samples.shift()
  listeners.forEach(heard => heard(samples.at(-1)))
}
