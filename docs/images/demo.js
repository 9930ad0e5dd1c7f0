// Takes the pictures of docs/demo.md while the demo runs: node demo.js BINARY CHROMIUM FOLDER. Needs what take.sh needs.
"use strict";
const { spawn } = require("node:child_process");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const [binary, executablePath, folder] = process.argv.slice(2);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--hide-scrollbars"];

(async () => {
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  const page = await (await browser.newContext({ colorScheme: "light" })).newPage();
  await page.setViewportSize({ width: 1280, height: 900 });
  const shoot = async (name, path, height) => {
    await page.goto(path);
    await page.evaluate(() => document.activeElement.blur());
    await page.screenshot({ path: `${folder}/demo-${name}.png`, clip: { x: 0, y: 0, width: 1280, height } });
  };
  const demo = spawn(binary, ["demo"], { stdio: ["ignore", "pipe", "inherit"] });
  let base;
  for await (const line of readline.createInterface({ input: demo.stdout })) {
    console.log(line);
    const word = (before) => line.match(new RegExp(`${before}\\s+(\\S+)`))?.[1];
    base ??= word("admin page");
    const token = word("sign in with");
    if (token) {
      await page.goto(base);
      await page.getByLabel("Admin token").fill(token);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForURL(base);
    }
    // The alert is the last thing that an outage brings.
    if (line.includes("an alert:")) await shoot("outage", base, 900);
    if (line.includes("mail returns")) await shoot("back", base + "providers", 330);
  }
  await browser.close();
})();
