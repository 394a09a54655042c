// What the server is asked, with the token that the viewer gave, which this tab alone keeps.

const KEY = 'beckon_token'
let token = sessionStorage.getItem(KEY) ?? ''

export const hasToken = () => token !== ''
export function setToken (text) {
  token = text.trim()
  if (token) sessionStorage.setItem(KEY, token)
  else sessionStorage.removeItem(KEY)
}

// Why there is no answer: `status` is that of the answer, 0 where there was none.
export class Refusal extends Error {
  constructor (status, said) {
    super(SAID[status] ?? said?.reason ?? said?.error ?? `The server answered ${status}.`)
    this.status = status
    this.reason = said?.reason
  }
}

const SAID = {
  0: 'The server cannot be reached.',
  401: 'This needs the token: sign in.',
  503: 'Beckon is still reading up to now. Try again in a moment.'
}

const head = () => token ? { authorization: `Bearer ${token}` } : {}

async function ask (path, options = {}) {
  const answer = await fetch(path, { ...options, headers: head(), cache: 'no-store', credentials: 'omit' }).catch(() => { throw new Refusal(0) })
  const text = await answer.text()
  let said
  try { said = JSON.parse(text) } catch { said = undefined }
  if (!answer.ok) throw new Refusal(answer.status, said)
  return said
}

export const get = path => ask(path)
export const post = (path, body) => ask(path, { method: 'POST', body })

// Server-sent events, for as long as they come and then again. An EventSource would send no token.
export async function events (path, heard, changed) {
  for (let tries = 0; ; tries++) {
    try {
      const answer = await fetch(path, { headers: head(), cache: 'no-store', credentials: 'omit' })
      if (!answer.ok) throw new Refusal(answer.status)
      tries = 0
      changed(null)
      await read(answer.body.getReader(), heard)
      throw new Refusal(0)
    } catch (fault) {
      changed(fault instanceof Refusal ? fault : new Refusal(0))
      // What needs the token comes no sooner than that: signing in begins anew.
      if (fault.status === 401) return
    }
    await new Promise(resolve => setTimeout(resolve, Math.min(1000 * 2 ** tries, 15000)))
  }
}

async function read (reader, heard) {
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    text += decoder.decode(value, { stream: true })
    const parts = text.split('\n\n')
    text = parts.pop()
    for (const part of parts) {
      const lines = part.split('\n').filter(line => line.startsWith('data:')).map(line => line.slice(5).trimStart())
      if (lines.length > 0) heard(JSON.parse(lines.join('\n')))
    }
  }
}
