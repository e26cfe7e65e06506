require 'json'
require 'pg'

connection = PG.connect
# One line for each case: context, and in hexadecimal digits text, bytes and JSON.
$stdin.each_line(chomp: true) do |line|
  ledger, *values = line.split("\t", -1)
  text, data, document = values.map { |value| [value].pack('H*') }
  text.force_encoding('UTF-8')
  document = JSON.parse(document.force_encoding('UTF-8'))
  request = 'request 1'
  position = 0
  sequence = nil
  # Handles the entries of a context until all that the example has appended were there.
  handled = 0
  running = -> { handled < 4 }
  handle = lambda do |at, key, payload|
    puts [ledger, at, key, payload.unpack1('H*')].join("\t")
    handled += 1
  end
  # the example
  puts [ledger, sequence, 'retried'].join("\t")
  # The overloaded function in the plainest ways: it may refuse.
  plainly = lambda do |key, payload|
    connection.exec_params('SELECT ledger_append($1, $2, $3)', [ledger, key, payload])
  rescue PG::Error => e
    warn "refused: #{e.message}"
  end
  plainly.call('text', text)
  plainly.call('bytes', connection.escape_bytea(data))
  plainly.call('bytes', { value: data, type: 17, format: 1 })
  plainly.call('json', JSON.generate(document))
end
