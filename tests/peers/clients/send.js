// Nodemailer: reads a task from standard input and sends the letter. Its argument is the folder of Nodemailer.
const fs = require('fs');
const nodemailer = require(process.argv[2]);

const task = JSON.parse(fs.readFileSync(0, 'utf8'));
const transport = nodemailer.createTransport({
    host: 'localhost',
    port: task.port,
    secure: task.tls === 'implicit',
    requireTLS: task.tls === 'starttls',
    ignoreTLS: task.tls === 'none',
    auth: task.user ? { user: task.user, pass: task.password } : undefined,
    tls: { ca: fs.readFileSync(task.authority) },
});
transport.sendMail({
    from: { name: 'La Librairie', address: task.sender },
    to: task.to,
    subject: task.subject,
    text: task.text,
    headers: { 'X-Campaign': 'nodemailer' },
    attachments: [{ filename: task.file_name, content: Buffer.from(task.attachment, 'base64') }],
}).then((told) => process.exit(told.rejected.length), (error) => { console.error(error); process.exit(1); });
