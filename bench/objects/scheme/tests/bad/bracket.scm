(define a 1)

(display (quote a)))
