(for-each
  (lambda (x)
    (display (+ x "1")))
  (list 1))
