// Takes the pictures of docs/admin.md: node take.js BASE TOKEN CHROMIUM FOLDER.
"use strict";
const { chromium } = require("playwright-core");

const [base, token, executablePath, folder] = process.argv.slice(2);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--hide-scrollbars"];

(async () => {
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ colorScheme });
    const page = await context.newPage();
    const shoot = async (name, path, height) => {
      if (path) await page.goto(base + path);
      for (const width of [1280, 390]) {
        await page.setViewportSize({ width, height });
        await page.evaluate(() => document.activeElement.blur());
        await page.screenshot({ path: `${folder}/${name}-${colorScheme}-${width}.png` });
      }
    };
    await page.goto(base + "/queue");
    await shoot("sign-in", "", 640);
    await page.getByLabel("Admin token").fill(token);
    await page.getByLabel("Your name").fill("ann");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(base + "/queue");
    const message = await page.locator("tbody th a").first().getAttribute("href");
    await shoot("overview", "/", 1400);
    await shoot("alerts", "/alerts", 900);
    await shoot("providers", "/providers", 1200);
    await shoot("routes", "/routes?from=app@shop.example&to=bob@customer.example", 1200);
    await shoot("queue", "/queue", 1000);
    await shoot("message", message, 1200);
    await shoot("trail", "/trail?wanted=bob@customer.example", 1000);
    await context.close();
  }
  await browser.close();
})();
