// What Beckon shows in headless Chromium, as somebody uses it. In: what to do (`tour` or `hostile` on the dashboard, or `choose`), where it is, its token, and more by what is
// to be done. Out: as JSON, what was seen.
import { chromium } from 'playwright-core'

const [what, executablePath, base, token, ...more] = process.argv.slice(2)
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
const faults = []

// A window; whatever goes wrong in it is a fault, but what the page must refuse to load of a mail.
async function open ({ width = 1280, height = 900, dark = false, script = true } = {}) {
  const context = await browser.newContext({ javaScriptEnabled: script, viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce', locale: 'en-GB', timezoneId: 'UTC' })
  const page = await context.newPage()
  page.setDefaultTimeout(60000)
  page.on('pageerror', error => faults.push(error.message))
  page.on('dialog', dialog => { faults.push(`a dialog: ${dialog.message()}`); dialog.dismiss() })
  // A mail's pictures are asked for and never fetched: the page's policy stops them. Anything else that leads away is a fault.
  const elsewhere = (request, how) => {
    const url = request.url()
    const isBlocked = how === 'csp' || how === 'net::ERR_BLOCKED_BY_CSP'
    if (!isBlocked && !url.startsWith(base) && !url.startsWith('about:') && !url.startsWith('data:')) faults.push(`a request elsewhere: ${url} (${how})`)
  }
  page.on('requestfinished', request => elsewhere(request, 'answered'))
  page.on('requestfailed', request => elsewhere(request, request.failure()?.errorText))
  return page
}

// A recipient chooses, by keyboard and without script; then looks at it on a narrow phone in the dark.
async function choose (path, pictures) {
  const saw = {}
  const shoot = async (page, name) => { if (pictures) await page.screenshot({ path: `${pictures}/${name}.png` }) }
  const page = await open({ width: 900, height: 760, script: false })
  await page.goto(base + path)
  saw.boxes = await page.getByRole('group', { name: 'Send me' }).getByRole('checkbox').count()
  saw.labels = await page.locator('label').allInnerTexts()
  await shoot(page, 'desktop-light')
  const first = page.getByRole('checkbox', { name: saw.labels[0], exact: true })
  await page.keyboard.press('Tab')
  saw.firstTab = await first.evaluate(box => document.activeElement === box)
  await page.keyboard.press('Space')
  saw.unticked = !await first.isChecked()
  // Past the other boxes to the button.
  for (let tab = 0; tab < saw.boxes; tab++) await page.keyboard.press('Tab')
  saw.button = await page.evaluate(() => document.activeElement.textContent)
  await page.keyboard.press('Enter')
  saw.saved = await text(page.getByRole('status'))
  saw.after = await page.getByRole('checkbox').evaluateAll(boxes => boxes.map(box => box.checked))
  const phone = await open({ width: 360, height: 740, dark: true, script: false })
  await phone.goto(base + path)
  await phone.getByText(saw.labels[1], { exact: true }).click()
  await phone.getByRole('button', { name: 'Save' }).click()
  await phone.getByRole('status').waitFor()
  saw.tooWide = await wide(phone)
  await shoot(phone, 'phone-dark')
  // All of it is large enough for a thumb, and what is written on it can be read.
  saw.small = await phone.locator('label, button').evaluateAll(all => all.map(it => it.getBoundingClientRect().height).filter(height => height < 40))
  await phone.getByRole('button', { name: 'Unsubscribe from all' }).click()
  await phone.getByRole('heading', { name: 'You are unsubscribed' }).waitFor()
  saw.unsubscribed = await phone.getByRole('checkbox').count() === 0
  return saw
}

const text = async locator => (await locator.innerText()).trim()
const card = (page, title) => page.locator('section.card', { has: page.getByRole('heading', { name: title, exact: true }) })
const wide = page => page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)

// A demo is running: live figures, a customer, the proof of a decision with its mail, and a dead letter said again.
async function tour (pictures) {
  const page = await open()
  const saw = {}
  const shoot = async (page, name, fullPage = false) => { if (pictures) await page.screenshot({ path: `${pictures}/${name}.png`, fullPage }) }
  await page.goto(`${base}/#token=${token}`)
  await page.locator('.live').waitFor()
  saw.hidesToken = !page.url().includes('token')
  const total = async () => Number((await text(page.locator('.tile .beside').first())).replace(/\D/g, ''))
  await page.waitForFunction(() => /[1-9]/.test(document.querySelector('.tile .beside')?.textContent ?? ''))
  const before = await total()
  await page.waitForFunction(before => Number(document.querySelector('.tile .beside').textContent.replace(/\D/g, '')) > before, before)
  saw.isLive = await total() > before
  // Until mails have been opened.
  await page.waitForFunction(() => [...document.querySelectorAll('td[data-of^="Open rate"]')].some(cell => /[1-9]/.test(cell.textContent)), null, { timeout: 240000 })
  saw.charts = await page.locator('.chart canvas').count()
  saw.chart = await page.locator('.chart').first().getAttribute('aria-label')
  saw.kpis = await text(card(page, 'What came of the mails'))

  // To the dead letters by keyboard alone: the first tab is the way past the head.
  await page.keyboard.press('Tab')
  saw.firstTab = await page.evaluate(() => document.activeElement.id)
  await page.getByRole('link', { name: 'Dead letters' }).focus()
  await page.keyboard.press('Enter')
  await page.locator('details.letter').first().waitFor()
  const heads = await page.locator('details.letter > summary').allInnerTexts()
  const letter = page.locator('details.letter').nth(heads.findIndex(head => head.includes('clickstream')))
  await letter.locator('summary').focus()
  await page.keyboard.press('Enter')
  const record = letter.getByRole('textbox')
  await record.waitFor()
  saw.badRecord = await record.inputValue()
  await letter.getByRole('button', { name: 'Say again' }).click()
  saw.refusal = await text(letter.getByRole('status').filter({ hasText: /\w/ }))
  await record.fill(JSON.stringify({ type: 'page', anonymousId: 'said-again', messageId: 'said-again', timestamp: Date.now() }))
  await letter.getByRole('button', { name: 'Say again' }).click()
  saw.replayed = await text(letter.getByRole('status').filter({ hasText: 'said again' }))
  await shoot(page, 'letters-desktop-light')
  // It takes effect as any record does: the visitor is known from now on.
  saw.visitor = await until(async () => {
    await page.goto(`${base}/#/customers/nobody`)
    await page.goto(`${base}/#/customers/said-again`)
    await page.getByText(/As of the closed tick|Nothing is known/).waitFor()
    return await page.getByText('As of the closed tick').count() > 0
  })

  // A customer whom a mail was sent to, by way of the trigger set; a slash leads to the search.
  await page.goto(`${base}/#/triggers`)
  await page.locator('td a[href^="#/customers/"]').first().waitFor()
  for (const id of await page.locator('td a[href^="#/customers/"]').allInnerTexts()) {
    await page.keyboard.press('/')
    await page.getByRole('searchbox').fill(id)
    await page.keyboard.press('Enter')
    await page.getByText('As of the closed tick').waitFor()
    if (await card(page, 'Decisions, and why').getByText('send', { exact: true }).count() > 0 && await page.getByText(/Mail of .*: accepted/).count() > 0) break
  }
  saw.customer = await text(page.locator('main'))
  await shoot(page, 'customer-desktop-light')
  const customer = page.url()
  await page.locator('section.card', { hasText: 'What happened' }).locator('li.send a[href^="#/decisions/"]').first().click()
  await page.getByRole('heading', { name: 'The proof: what each gate answered' }).waitFor()
  saw.gates = await card(page, 'The proof: what each gate answered').locator('tbody tr').allInnerTexts()
  const frame = page.locator('iframe')
  await frame.scrollIntoViewIfNeeded()
  saw.mail = await text(page.frameLocator('iframe').locator('body'))
  saw.subject = await text(card(page, 'The mail as it was sent').locator('dd').nth(2))
  await page.waitForTimeout(500)
  await shoot(page, 'mail-desktop-light')
  const decision = page.url()

  // The same in the dark, and on a phone: nothing is wider than it.
  saw.tooWide = []
  for (const [name, size] of [['desktop-dark', { dark: true }], ['phone-light', { width: 390, height: 844 }], ['phone-dark', { width: 390, height: 844, dark: true }]]) {
    const page = await open(size)
    await page.goto(`${base}/#token=${token}`)
    await page.locator('.live').waitFor()
    for (const [view, address, seen] of [['overview', `${base}/#/`, 'Rates over time'], ['customer', customer, 'Decisions, and why'], ['decision', decision, 'The records that made it'], ['experiments', `${base}/#/experiments`, 'Beside those held out'], ['letters', `${base}/#/letters`, 'Dead letters'], ['triggers', `${base}/#/triggers`, 'As of']]) {
      await page.goto(address)
      await page.getByText(seen).first().waitFor()
      await page.waitForTimeout(view === 'overview' ? 8000 : 300)
      if (await wide(page)) saw.tooWide.push(`${view} ${name}`)
      if (WORTH_SEEING.includes(`${view}-${name}`)) await shoot(page, `${view}-${name}`)
    }
    await page.context().close()
  }
  // By now there is more to be seen of it.
  await page.goto(`${base}/#/`)
  await page.waitForTimeout(6000)
  await shoot(page, 'overview-desktop-light', true)
  return saw
}

const WORTH_SEEING = ['overview-phone-dark', 'customer-phone-light', 'decision-desktop-dark', 'decision-phone-dark', 'experiments-desktop-dark']

async function until (holds) {
  for (let tried = 0; tried < 60; tried++) {
    if (await holds()) return true
    await new Promise(resolve => setTimeout(resolve, 500))
  }
  return false
}

// Every field has script in it: it is shown as text, and runs nowhere.
async function hostile (customer, decision) {
  const page = await open()
  const saw = { shown: {}, ran: [] }
  const look = async (name, hash, ready) => {
    await page.goto(`${base}/${hash}`)
    await page.getByText(ready).first().waitFor()
    for (const summary of await page.locator('details > summary').all()) await summary.click()
    await page.waitForTimeout(700)
    saw.shown[name] = await text(page.locator('main'))
    const values = await page.locator('textarea').evaluateAll(all => all.map(it => it.value))
    saw.shown[name] += values.join('\n')
    if (await page.evaluate(() => window.pwned !== undefined || document.title.includes('pwned'))) saw.ran.push(name)
    if (await page.locator('main img, main script, main object, main embed, main a[href^="javascript:"]').count() > 0) saw.ran.push(`${name}: an element`)
  }
  // Without the token the figures are there, and nothing else.
  await page.goto(`${base}/`)
  await page.locator('.live').waitFor()
  await page.goto(`${base}/#/letters`)
  saw.withoutToken = await text(page.getByRole('alert').first())
  await page.goto(`${base}/#/customers/${encodeURIComponent(customer)}`)
  await page.getByText('This needs the token').waitFor()
  await page.getByRole('button', { name: 'Sign in' }).first().click()
  await page.getByLabel('Token').fill('another token of a length')
  await page.getByRole('button', { name: 'Sign in' }).last().click()
  saw.withAnother = await text(page.locator('main').getByRole('alert').first())
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('button', { name: 'Sign in' }).first().click()
  await page.getByLabel('Token').fill(token)
  await page.getByRole('button', { name: 'Sign in' }).last().click()

  await look('overview', '#/', 'What came of the mails')
  await look('experiments', '#/experiments', 'Experiments')
  await look('customer', `#/customers/${encodeURIComponent(customer)}`, 'As of the closed tick')
  await look('decision', `#/decisions/${decision}`, 'The records that made it')
  saw.framed = await text(page.frameLocator('iframe').locator('body'))
  await page.frameLocator('iframe').locator('a').first().click({ noWaitAfter: true, timeout: 5000 }).catch(() => {})
  await page.waitForTimeout(500)
  saw.frames = page.frames().map(frame => new URL(frame.url()).pathname.split('/')[1])
  for (const tab of ['Text', 'HTML']) {
    await page.getByRole('tab', { name: tab }).click()
    saw.shown[`mail as ${tab}`] = await text(page.getByRole('tabpanel'))
  }
  if (await page.evaluate(() => window.pwned !== undefined)) saw.ran.push('mail')
  await look('triggers', '#/triggers', 'As of')
  await look('letters', '#/letters', 'in all')
  return saw
}

const saw = what === 'tour' ? await tour(more[0]) : what === 'choose' ? await choose(...more) : await hostile(...more)
await browser.close()
console.log(JSON.stringify({ ...saw, faults }))
