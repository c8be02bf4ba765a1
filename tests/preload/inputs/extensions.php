<?php
// Extensions of PHP: DOM and XPath (libxml2), mbstring (its tables of conversions and regular expressions), SQLite.
mt_srand(7);

$document = new DOMDocument();
$root = $document->appendChild($document->createElement('orders'));
for ($i = 0; $i < 4000; $i++) {
    $order = $root->appendChild($document->createElement('order'));
    $order->setAttribute('id', (string) $i);
    for ($k = mt_rand(1, 4); $k > 0; $k--)
        $order->appendChild($document->createElement('item', str_repeat('x', mt_rand(0, 60))));
    if ($i % 3 == 0)
        $root->removeChild($root->firstChild);
}
$again = new DOMDocument();
$again->loadXML($document->saveXML());
$path = new DOMXPath($again);
printf("%d orders, %d items, %s\n", $path->query('//order')->length, $path->query('//order[@id > 2000]/item')->length,
       md5($again->saveXML()));

$text = str_repeat("Größe, пять, 五つ; ", 2000);
$parts = mb_split(';', $text);
$other = mb_convert_encoding(mb_strtoupper($text), 'UTF-16LE', 'UTF-8');
printf("%d characters, %d parts, %s\n", mb_strlen($text), count($parts), md5($other));

$database = new SQLite3(':memory:');
$database->exec('create table words (word text, length integer)');
$insert = $database->prepare('insert into words values (:word, :length)');
foreach ($parts as $number => $part) {
    $insert->bindValue(':word', trim($part) . $number);
    $insert->bindValue(':length', mb_strlen($part));
    $insert->execute();
}
$database->createFunction('backwards', 'strrev');
$rows = $database->query('select backwards(word), length from words where length > 5 order by word limit 500');
$sum = '';
while ($row = $rows->fetchArray(SQLITE3_NUM))
    $sum = md5($sum . $row[0] . $row[1]);
printf("%d words, %s\n", $database->querySingle('select count(*) from words'), $sum);
