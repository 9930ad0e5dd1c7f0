// A real browser at the admin pages: node pages.js BASE TOKEN CHROMIUM. Opens every page in both colours and at two widths, with the
// eyes of its console and of the content security policy, and deletes a message. Exit status 1 and what was wrong, where something was.
"use strict";
const { chromium } = require("playwright-core");

const [base, token, executablePath] = process.argv.slice(2);
const wrong = [];
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

async function watched(browser, options) {
  const context = await browser.newContext(options);
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
  });
  const page = await context.newPage();
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) wrong.push(`${page.url()}: ${message.text()}`); });
  page.on("pageerror", (error) => wrong.push(`${page.url()}: ${error.message}`));
  page.on("dialog", (dialog) => { wrong.push(`${page.url()}: a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => { if (!request.url().startsWith(base)) wrong.push(`it loads ${request.url()}`); });
  page.on("response", (response) => { if (response.status() >= 400) wrong.push(`${response.status()} ${response.url()}`); });
  return page;
}

async function signIn(page, path) {
  await page.goto(base + path);
  await page.getByLabel("Admin token").fill(token);
  await page.getByLabel("Your name").fill("eyes");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(base + path);
}

async function looksRight(page, width) {
  await page.setViewportSize({ width, height: 900 });
  const found = await page.evaluate(() => ({
    over: document.documentElement.scrollWidth - window.innerWidth,
    headings: document.querySelectorAll("h1").length,
    unnamed: [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
      .filter((field) => !field.labels.length && !field.getAttribute("aria-label")).length,
    twice: [...document.querySelectorAll("[id]")].map((of) => of.id).filter((id, n, all) => all.indexOf(id) !== n),
    style: getComputedStyle(document.querySelector("main")).maxWidth,
  }));
  if (found.over > 0) wrong.push(`${page.url()} at ${width}: wider than the screen by ${found.over}`);
  if (found.headings !== 1) wrong.push(`${page.url()}: ${found.headings} main headings`);
  if (found.unnamed) wrong.push(`${page.url()}: ${found.unnamed} fields without a label`);
  if (found.twice.length) wrong.push(`${page.url()}: ids twice: ${found.twice}`);
  if (found.style === "none") wrong.push(`${page.url()}: the style sheet does not hold`);
}

(async () => {
  const browser = await chromium.launch({ executablePath, args: QUIET });
  for (const colorScheme of ["light", "dark"]) {
    const page = await watched(browser, { colorScheme });
    await signIn(page, "/queue");
    const message = await page.locator("tbody th a").first().getAttribute("href");
    for (const path of ["/", "/?hours=6&by=provider", "/providers", "/routes?from=a@held.example&to=b@c.example", "/queue", message, "/trail?wanted=d@customer.example", "/alerts"]) {
      await page.goto(base + path);
      for (const width of [1280, 390]) await looksRight(page, width);
    }
    // What is live is asked for again by itself, and put in its place.
    await page.goto(base + "/");
    await page.evaluate(() => { document.getElementById("overview").dataset.old = "yes"; });
    await page.locator("#overview:not([data-old])").waitFor();
    // An alert is on: the navigation has the number, and its page the cause and who was told.
    await page.getByRole("link", { name: "Alerts 1 on" }).click();
    await page.getByRole("heading", { name: "1 alert on" }).waitFor();
    const alert = page.getByRole("article", { name: "provider first is out" });
    for (const text of ["Connection refused", "to second (route all)", "Next probe", "told webhook", "200 OK", "queued mail ops@corp.example"])
      await alert.getByText(text).first().waitFor();
    await alert.getByRole("link", { name: "first", exact: true }).waitFor();
    await page.context().close();
  }

  // By keyboard alone: the link that skips the navigation is first, and has a visible focus.
  const page = await watched(browser, {});
  await signIn(page, "/queue");
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => [document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle]);
  if (first[0] !== "Skip to the content" || first[1] === "none") wrong.push(`the first stop of the Tab key is ${first}`);

  await page.getByRole("checkbox").first().check();
  await page.getByLabel("Do", { exact: true }).selectOption("delete");
  await page.getByRole("button", { name: "with the ticked" }).click();
  await page.getByLabel("Why").fill("looked at");
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("status").filter({ hasText: "1 message deleted." }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin token").waitFor();

  // Without scripts, all of it can be read.
  const plain = await watched(browser, { javaScriptEnabled: false });
  await signIn(plain, "/");
  await plain.getByRole("link", { name: "Providers" }).first().click();
  await plain.getByRole("heading", { name: "second" }).waitFor();
  await browser.close();
  console.log(wrong.length ? wrong.join("\n") : "nothing wrong");
  process.exit(wrong.length ? 1 : 0);
})().catch((error) => { console.error(error); console.error(wrong.join("\n")); process.exit(1); });
