// Hands in a message as it lies in a file, by nodemailer.
//
// usage: send.js PORT WAY CERTIFICATE MECHANISM USER PASSWORD FILE
"use strict";
const fs = require("fs");
const nodemailer = require("nodemailer");

const [port, way, certificate, mechanism, user, pass, file] = process.argv.slice(2);
const transport = nodemailer.createTransport({
    host: "localhost",
    port: Number(port),
    secure: way === "implicit",
    requireTLS: way === "starttls",
    ignoreTLS: way === "plain",
    tls: { ca: fs.readFileSync(certificate) },
    ...(mechanism ? { auth: { user, pass }, authMethod: mechanism } : {}),
});
transport
    .sendMail({ envelope: { from: "app@sender.example", to: ["one@a.example"] }, raw: fs.readFileSync(file) })
    .then((sent) => process.exit(sent.rejected.length))
    .catch((error) => {
        console.error(error);
        process.exit(1);
    });
