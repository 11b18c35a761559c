<?php
// PHPMailer: reads a task from standard input and sends the letter. Its argument is the folder of PHPMailer.
use PHPMailer\PHPMailer\PHPMailer;

foreach (['Exception', 'PHPMailer', 'SMTP'] as $part) {
    require $argv[1] . "/$part.php";
}
$task = json_decode(stream_get_contents(STDIN), true);

$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = 'localhost';
$mail->Port = $task['port'];
$mail->SMTPSecure = ['none' => '', 'starttls' => PHPMailer::ENCRYPTION_STARTTLS, 'implicit' => PHPMailer::ENCRYPTION_SMTPS][$task['tls']];
$mail->SMTPAutoTLS = $task['tls'] !== 'none';
$mail->SMTPAuth = $task['user'] !== '';
$mail->Username = $task['user'];
$mail->Password = $task['password'];
$mail->SMTPOptions = ['ssl' => ['cafile' => $task['authority']]];
$mail->CharSet = PHPMailer::CHARSET_UTF8;
$mail->Encoding = PHPMailer::ENCODING_8BIT;
$mail->setFrom($task['sender'], 'La Librairie');
foreach ($task['to'] as $address) {
    $mail->addAddress($address);
}
$mail->addCustomHeader('X-Campaign', 'phpmailer');
$mail->Subject = $task['subject'];
$mail->Body = $task['text'];
$mail->addStringAttachment(base64_decode($task['attachment']), $task['file_name']);
$mail->send();
