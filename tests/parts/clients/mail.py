"""Hands in one message with all that an application's mail has, by Python's smtplib.

usage: mail.py PORT CERTIFICATE USER PASSWORD
"""
import smtplib
import ssl
import sys
from email.message import EmailMessage

port, certificate, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]

message = EmailMessage()
message["From"] = "Zoë <app@sender.example>"
message["To"] = "someone@a.example"
message["Bcc"] = "hidden@b.example"
message["Subject"] = "Grüße: 你好"
message["Message-ID"] = "<smtplib@sender.example>"
message["Date"] = "Tue, 24 Nov 2026 10:00:00 +0000"
message.set_content("Plain text.\n.a dot\n")
message.add_alternative("<p>HTML</p>", subtype="html")
message.add_attachment(bytes(range(256)) * 300, maintype="application", subtype="octet-stream", filename="all octets.bin")

with smtplib.SMTP("localhost", port) as relay:
    relay.starttls(context=ssl.create_default_context(cafile=certificate))
    relay.login(user, password)
    refused = relay.sendmail(
        "app@sender.example",
        ["someone@a.example", "hidden@b.example"],
        message.as_bytes(policy=message.policy.clone(linesep="\r\n")),
        mail_options=["BODY=8BITMIME"],
    )
    assert refused == {}, refused

    # An address that only SMTPUTF8 carries, and a body in 8 bits.
    relay.sendmail(
        "app@sender.example",
        ["jürgen@a.example"],
        "From: app@sender.example\r\nSubject: direkt: Grüße\r\n\r\nacht Bit: äöü\r\n".encode(),
        mail_options=["SMTPUTF8", "BODY=8BITMIME"],
    )

    # A wrong password is refused, and the session goes on.
with smtplib.SMTP("localhost", port) as relay:
    relay.starttls(context=ssl.create_default_context(cafile=certificate))
    try:
        relay.login(user, "wrong")
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 535, error
    else:
        raise AssertionError("a wrong password was taken")
    try:
        relay.sendmail("app@sender.example", ["someone@a.example"], "Subject: no\r\n\r\nno\r\n")
    except smtplib.SMTPSenderRefused as error:
        assert error.smtp_code == 530, error
    else:
        raise AssertionError("mail was taken without authentication")
